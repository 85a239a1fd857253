"""Single records through fastavro: capture reports, suspects from a bad block, and `tail`.

The only module of the consumer that imports fastavro. The columnar path (columns.py) is for
everything that comes in numbers; this one is slow and exact.
"""

import io
from datetime import datetime
from typing import Any

import fastavro
from fastavro.validation import ValidationError, validate
from fsmon_schemas import CAPTURE_REPORT, FsmonError, Schema

from fsmon_consumer.layout import SchemaMismatchError, record_name


class RecordError(FsmonError):
    """The bytes are not exactly one record of the schema."""


def decode(schema: Schema, body: bytes, reader: Schema | None = None) -> dict[str, Any]:
    """One record from exactly ``body``; RecordError where it is cut short or bytes are left.

    SchemaMismatchError for a schema of no record. With ``reader`` its fields, whatever was written:
    seven times slower.
    """
    record_name(schema)
    stream = io.BytesIO(body)
    try:
        record = fastavro.schemaless_reader(stream, schema.parsed, reader.parsed if reader else None)
    except Exception as error:
        raise RecordError(f"{type(error).__name__}: {error}") from error
    left = len(body) - stream.tell()
    if left:
        raise RecordError(f"{left} bytes left over after the record")
    assert isinstance(record, dict)
    return record


def decode_report(schema: Schema, body: bytes) -> dict[str, Any]:
    """One CaptureReport as this version knows it; SchemaMismatchError for a schema of something else.

    fastavro makes of a value what the writer's logical type says, so all are held to the reader's types.
    """
    if record_name(schema) != "CaptureReport":
        raise SchemaMismatchError("a schema of something else than CaptureReport")
    report = decode(schema, body, None if schema.text == CAPTURE_REPORT.text else CAPTURE_REPORT)
    try:
        validate(report, CAPTURE_REPORT.parsed, strict=True)
    except ValidationError as error:
        raise RecordError(f"values of other types: {error}") from error
    for name in ("time", "session_start"):
        if not isinstance(report[name], datetime) or report[name].tzinfo is None:
            raise RecordError(f"field {name} is no timestamp")
    return report


def encode(schema: Schema, record: dict[str, Any]) -> bytes:
    """The Avro body of ``record``, without framing."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, record)
    return stream.getvalue()
