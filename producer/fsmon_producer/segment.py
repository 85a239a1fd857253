"""A file of the spool: an Avro object container file (Avro specification 1.12) of one record a block.

So a record's length stands before it, and a torn tail costs only what was not synced. Opened below a
directory's descriptor, never through a link.
"""

import errno
import io
import os
import secrets
import stat
import zlib
from typing import Any

import fastavro
from fsmon_schemas.errors import FramingError
from fsmon_schemas.framing import decode_long, encode_long

_ONE = encode_long(1)
_MARKER = 16
_METADATA = "fsmon.identity"
_READ_BYTES = 256 << 10


class Segment:
    """Records from seq ``first`` to ``end``, exclusive; ``size`` in bytes. The newest is appended to."""

    def __init__(self, directory: int, first: int) -> None:
        """Open for reading; use ``create`` for a new one. OSError where it is no file."""
        self.first = first
        self._directory = directory
        self._file = os.open(name_of(first), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        about = os.fstat(self._file)
        if not stat.S_ISREG(about.st_mode):
            os.close(self._file)
            raise OSError(errno.EINVAL, "not a regular file")
        self.size = about.st_size
        self._marker = b""
        self._start = 0
        self.metadata = b""
        self.end = first

    @classmethod
    def create(cls, directory: int, first: int, schema: dict[str, Any], metadata: bytes) -> "Segment":
        """A new and empty one; OSError as the disk says."""
        header = io.BytesIO()
        marker = secrets.token_bytes(_MARKER)
        fastavro.writer(header, schema, [], sync_marker=marker, metadata={_METADATA: _summed(metadata)})
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name_of(first), flags, 0o600, dir_fd=directory)
        try:
            _write(file, header.getvalue(), 0)
            os.fsync(directory)
        except OSError:
            os.unlink(name_of(first), dir_fd=directory)
            raise
        finally:
            os.close(file)
        made = cls(directory, first)
        made.recover(0)
        return made

    def recover(self, session: int) -> int:
        """Find ``end``, and cut off what lies behind the last whole record of ``session``; its bytes.

        A record says itself which seq of which session it is, so those of another file are none of ours.
        """
        data = os.pread(self._file, self.size, 0)
        try:
            reader = fastavro.reader(io.BytesIO(data))
            self.metadata = _sound(str(reader.metadata[_METADATA]))
            self._start = self._header_length(data)
        except Exception:  # fastavro raises what the bytes lead it to: the header itself was torn
            self._cut(0)
            return len(data)
        self._marker = data[self._start - _MARKER : self._start]
        position, self.end = self._start, self.first
        whose = b""
        while position < len(data):
            after = self._after(data, position)
            if after is None:
                break
            body, behind = after
            whose = whose or _identity(body, session)
            if not whose or not body.startswith(whose + encode_long(self.end)):
                break
            position = behind
            self.end += 1
        if position < len(data):
            self._cut(position)
        return len(data) - position

    def _header_length(self, data: bytes) -> int:
        """Behind the magic comes a map of metadata, then the marker."""
        position = 4
        while True:
            count, position = decode_long(data, position)
            if count == 0:
                return position + _MARKER
            if count < 0:
                _, position = decode_long(data, position)
            for _ in range(2 * abs(count)):
                length, position = decode_long(data, position)
                position += max(0, length)

    def _after(self, data: bytes, position: int) -> tuple[bytes, int] | None:
        """The record of the block at ``position`` and where the next begins; None where it is not whole."""
        try:
            count, at = decode_long(data, position)
            length, at = decode_long(data, at)
        except FramingError:
            return None
        stop = at + length
        if count != 1 or length < 0 or data[stop : stop + _MARKER] != self._marker:
            return None
        return data[at:stop], stop + _MARKER

    def append(self, bodies: list[bytes]) -> None:
        """Write records, and return when they are on the disk; OSError leaves it as it was."""
        marker = self._marker
        data = b"".join([_ONE + encode_long(len(body)) + body + marker for body in bodies])
        try:
            _write(self._file, data, self.size)
            os.fdatasync(self._file)  # here, too, a disk may say that it is full
        except OSError:
            self._cut(self.size)
            raise
        self.size += len(data)
        self.end += len(bodies)

    def read(self, position: int, most: int) -> tuple[list[bytes], int]:
        """Up to ``most`` records from a byte on (0: from the first), and where the next begins."""
        position = position or self._start
        limit = _READ_BYTES
        while True:
            data = os.pread(self._file, min(limit, self.size - position), position)
            bodies: list[bytes] = []
            at = 0
            while len(bodies) < most and (found := self._after(data, at)) is not None:
                body, at = found
                bodies.append(body)
            if bodies or position + limit >= self.size:
                return bodies, position + at
            limit *= 2  # one that is longer

    def _cut(self, size: int) -> None:
        os.ftruncate(self._file, size)
        self.size = size

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)

    def remove(self) -> None:
        """Delete it."""
        self.close()
        os.unlink(name_of(self.first), dir_fd=self._directory)


def _summed(metadata: bytes) -> str:
    """With its CRC-32: Avro protects no header."""
    return f"{zlib.crc32(metadata):08x} {metadata.decode()}"


def _sound(text: str) -> bytes:
    metadata = text[9:].encode()
    if _summed(metadata) != text:
        raise ValueError("the metadata are damaged")
    return metadata


def _identity(body: bytes, session: int) -> bytes:
    """What a stamped body begins with, before its seq; empty where it is not of this session."""
    try:
        length, at = decode_long(body, 0)
        found, end = decode_long(body, at + length) if length >= 0 else (-1, 0)
    except FramingError:
        return b""
    return body[:end] if found == session else b""


def name_of(first: int) -> str:
    """A name that sorts as the seqs do."""
    return f"{first:020d}.avro"


def _write(file: int, data: bytes, position: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, position)
        rest, position = rest[written:], position + written
