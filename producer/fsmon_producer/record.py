"""A FileEvent as fastavro reads and writes it here: the kernel's part alone, or stamped and whole.

Logical types are left out, so that no value changes on the way. The kernel writes strings byte
by byte as it finds them, so its part is read with every string as bytes, the same on the wire.
"""

import io
import time
from collections.abc import Collection
from typing import Any

import fastavro
from fsmon_schemas.schema import FILE_EVENT, Schema

STAMPED = ("host_id", "session", "seq")
_RAW_OF = {"path": "path_raw", "target_path": "target_path_raw"}


class UndecodableRecordError(Exception):
    """The bytes do not read as a FileEvent."""


def _plain_type(declared: Any, string: str) -> Any:
    if isinstance(declared, list):
        return [_plain_type(branch, string) for branch in declared]
    if isinstance(declared, dict):
        plain = {key: value for key, value in declared.items() if key != "logicalType"}
        return plain["type"] if set(plain) == {"type"} else plain
    return string if declared == "string" else declared


def _schema(declared: dict[str, Any], string: str, without: Collection[str] = ()) -> Any:
    fields = [field for field in declared["fields"] if field["name"] not in without]
    plain = [{**field, "type": _plain_type(field["type"], string)} for field in fields]
    return fastavro.parse_schema({"type": "record", "name": "FileEvent", "fields": plain})


def _decode(data: bytes, schema: Any) -> dict[str, Any]:
    stream = io.BytesIO(data)
    try:
        event = fastavro.schemaless_reader(stream, schema, None)
    except Exception as error:  # fastavro raises what the bytes lead it to: EOF, Index, Value, Overflow, ...
        raise UndecodableRecordError(str(error)) from error
    if stream.tell() != len(data):
        raise UndecodableRecordError(f"{len(data) - stream.tell()} bytes left over")
    assert isinstance(event, dict)
    return event


class EventCodec:
    """For events of one schema: that of the session, which an older or newer build may have begun."""

    def __init__(self, schema: Schema) -> None:
        self.kernel_bytes = _schema(schema.declared, "bytes", STAMPED)
        self._kernel_text = _schema(schema.declared, "string", STAMPED)
        self._whole = _schema(schema.declared, "string")
        self._strings = tuple(
            field["name"]
            for field in schema.declared["fields"]
            if field["name"] not in STAMPED and field["type"] in ("string", ["null", "string"])
        )

    def decode_kernel(self, body: bytes) -> dict[str, Any]:
        """The event the kernel wrote, strings as bytes; UndecodableRecordError unless it is exactly one."""
        return _decode(body, self.kernel_bytes)

    def is_text(self, body: bytes) -> bool:
        """Whether the kernel's bytes are one event whose strings are all valid UTF-8: nothing to rewrite."""
        try:
            _decode(body, self._kernel_text)
        except UndecodableRecordError:
            return False
        return True

    def decode_stamped(self, body: bytes) -> dict[str, Any]:
        """The event of an unframed message; UndecodableRecordError unless it is exactly one."""
        return _decode(body, self._whole)

    def encode_kernel(self, event: dict[str, Any]) -> bytes:
        """The kernel's part of an event, strings as text."""
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, self._kernel_text, event)
        return stream.getvalue()

    def readable(self, event: dict[str, Any]) -> dict[str, Any]:
        r"""The event with its byte strings as text; a path that is not UTF-8 keeps its bytes in ``*_raw``.

        Bytes that are not UTF-8 become ``\xNN``, and so do backslashes beside them, so that the
        text can be turned back.
        """
        text = dict(event)
        for name in self._strings:
            data = event[name]
            if data is None:
                continue
            try:
                text[name] = data.decode("utf-8")
            except UnicodeDecodeError:
                text[name] = data.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace")
                if name in _RAW_OF:
                    text[_RAW_OF[name]] = data
        return text


CURRENT = EventCodec(FILE_EVENT)


def without_paths(event: dict[str, Any]) -> dict[str, Any]:
    """The event with everything left out that may be long."""
    left_out = dict.fromkeys(("path", "path_raw", "target_path", "target_path_raw", "exe"))
    return {**event, **left_out, "path_truncated": True}


def unknown_event() -> dict[str, Any]:
    """What is known of a record that does not decode: that it was there, and about when."""
    numbers = dict.fromkeys(("pid", "tid", "ppid", "process_start", "uid", "gid", "euid"), 0)
    boot_time = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return {"time": time.time_ns() // 1000, "boot_time": boot_time, **numbers, "path_truncated": True}
