"""Where events go without Kafka: JSON lines on a descriptor, or an Avro container file.

Both acknowledge what they have written; there are no reports.
"""

import io
import json
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
from fsmon_schemas.errors import ConfigError, FatalError, FsmonError
from fsmon_schemas.framing import encode_long
from fsmon_schemas.schema import FILE_EVENT

from fsmon_producer.destination import Acknowledged
from fsmon_producer.record import CURRENT, UndecodableRecordError
from fsmon_producer.ring import Cursor

_NO_LIMIT = 1 << 29  # longer than any record a ring can hold


class OutputClosedError(FsmonError):
    """Nobody reads the output any more, as after `| head`."""


class Output:
    """A destination that is there at once and acknowledges what it has written."""

    frame = b""
    limit = _NO_LIMIT
    settled = True
    reports = False
    reports_acknowledged = 0

    def __init__(self, start: Cursor) -> None:
        self.acknowledged = Acknowledged(start)
        self.connected = self.ready = False

    def connect(self, seconds: float) -> bool:  # noqa: ARG002 - the protocol's
        """There is nothing to connect to."""
        self.connected = self.ready = True
        return True

    def poll(self, seconds: float) -> None:
        """Nothing is under way."""

    def abandon(self) -> None:
        """Nothing is unacknowledged."""

    def send_report(self, body: bytes) -> bool:  # noqa: ARG002 - the protocol's
        """Reports are for the ledger behind Kafka: here nobody takes them."""
        return False


class JsonLines(Output):
    """Events as JSON lines on a file descriptor: field names of the schema, nulls left out.

    Times are ISO 8601 in UTC, exact bytes are hexadecimal.
    """

    def __init__(self, start: Cursor, descriptor: int = 1) -> None:
        super().__init__(start)
        self._descriptor = descriptor

    def send(self, messages: list[bytes], end: Cursor) -> None:
        """Write all, unbuffered; OutputClosedError when the reader has gone."""
        text = memoryview("".join(_json_line(message) for message in messages).encode())
        try:
            while text:
                text = text[os.write(self._descriptor, text) :]
        except BrokenPipeError as error:
            raise OutputClosedError("the reader of the output has gone") from error
        except OSError as error:
            raise FatalError(f"cannot write the output: {error}") from error
        self.acknowledged = Acknowledged(end)

    def close(self) -> None:
        """The descriptor is not ours to close."""


def _json_line(message: bytes) -> str:
    try:
        event = CURRENT.decode_stamped(message)
    except UndecodableRecordError as error:
        return json.dumps({"undecodable": message.hex(), "reason": str(error)}) + "\n"
    shown = {name: _json_value(name, value) for name, value in event.items() if value is not None}
    return json.dumps(shown, ensure_ascii=False) + "\n"


def _json_value(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if name in ("time", "last_time"):
        try:
            return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)).isoformat()
        except OverflowError:  # no date that people count by
            return value
    return value


class AvroFile(Output):
    """An Avro object container file (Avro specification 1.12), a block for each batch.

    The bodies are written as the kernel made them. 0600, for paths are private; never follows a
    link, never overwrites.
    """

    def __init__(self, start: Cursor, path: Path) -> None:
        super().__init__(start)
        self._path = path
        self._marker = secrets.token_bytes(16)
        header = io.BytesIO()
        fastavro.writer(header, FILE_EVENT.parsed, [], sync_marker=self._marker)
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"--output {path}: {error.strerror}; it must be a new file") from error
        self._write(header.getvalue())

    def send(self, messages: list[bytes], end: Cursor) -> None:
        """Append one block; FatalError when the disk refuses."""
        if messages:
            records = b"".join(messages)
            self._write(encode_long(len(messages)) + encode_long(len(records)) + records + self._marker)
        self.acknowledged = Acknowledged(end)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise FatalError(
                f"cannot write {self._path}: {error.strerror}: events from here on are not in it"
            ) from error

    def close(self) -> None:
        """Sync and close."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)
