"""Capture reports out of their messages: those that PostgreSQL and its readers hold, or what is wrong."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from fsmon_schemas import FramingError, FsmonError, Schema
from fsmon_schemas.framing import SchemaRef, split_frame
from fsmon_schemas.registry import UnknownSchemaError

from fsmon_consumer import records
from fsmon_consumer.dead_letters import HOST_ID_BYTES, Reason
from fsmon_consumer.layout import SchemaMismatchError

# A host's clock may be wrong; in these years every client can read the row again, in any time zone.
_YEARS = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class ReportError(FsmonError):
    """No report that can be stored; ``ref`` is its schema, where the frame could be read."""

    def __init__(self, reason: Reason, detail: str, ref: SchemaRef | None) -> None:
        super().__init__(detail)
        self.reason, self.ref = reason, ref


def read_report(
    key: bytes | None, value: bytes | None, find_schema: Callable[[SchemaRef], Schema]
) -> dict[str, Any]:
    """The report of a message; a RetryableError of ``find_schema`` passes through."""
    ref: SchemaRef | None = None
    try:
        ref, start = split_frame(value or b"")
        report = records.decode_report(find_schema(ref), (value or b"")[start:])
    except FramingError as error:
        raise ReportError(Reason.FRAMING, str(error), ref) from error
    except UnknownSchemaError as error:
        raise ReportError(Reason.UNKNOWN_SCHEMA, str(error), ref) from error
    except SchemaMismatchError as error:
        raise ReportError(Reason.WRONG_SCHEMA, str(error), ref) from error
    except records.RecordError as error:
        raise ReportError(Reason.UNDECODABLE, str(error), ref) from error
    for reason, detail in _faults(report, key):
        raise ReportError(reason, detail, ref)
    return report


def _faults(report: dict[str, Any], key: bytes | None) -> Iterator[tuple[Reason, str]]:
    expected = f"{report['host_id']}/{report['session']}"
    if key != expected.encode():
        yield Reason.KEY_MISMATCH, f"the report is of {expected!r}, the message's key {key!r}"
    if not 0 < len(report["host_id"].encode()) <= HOST_ID_BYTES:
        yield Reason.HOST_ID, f"host_id is empty or longer than {HOST_ID_BYTES} bytes"
    if report["session"] < 0:
        yield Reason.NEGATIVE, "session is below 0"
    for name in ("time", "session_start"):
        if not _YEARS[0] <= report[name] < _YEARS[1]:
            yield Reason.TIME, f"{name} is {report[name]}: no clock shows that"
    if any("\0" in text for text in _texts(report)):
        yield Reason.NUL, "a text holds U+0000"
    for span in report["dropped"]:
        if not 0 <= span["first"] <= span["end"]:
            yield Reason.RANGE, f"dropped seqs from {span['first']} to before {span['end']}"


def _texts(value: object) -> Iterator[str]:
    """All texts in it, keys of maps among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield key
            yield from _texts(held)
    elif isinstance(value, list):
        for held in value:
            yield from _texts(held)
