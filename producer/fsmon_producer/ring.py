"""The BPF ring buffer, read through our own mmap and released only when told to.

The kernel writes records and moves the producer position; nothing is overwritten until the
consumer position moves past it, so what was read and not released can be read again. Layout
(Linux kernel/bpf/ringbuf.c): page 0 consumer position, writable; page 1 producer position; then
the data, mapped twice in a row so that no record wraps. A record is a u32 length (bit 31 busy,
bit 30 discarded), a u32 of the kernel's, then the bytes, rounded up to 8.

A payload is one flag byte and the Avro bytes of a FileEvent from its field ``time`` on.
"""

import mmap
import platform
import select
from dataclasses import dataclass, field
from typing import NamedTuple

from fsmon_schemas.errors import FatalError

PAGE = mmap.PAGESIZE
HEADER_BYTES = 8
_BUSY = 1 << 31
_DISCARDED = 1 << 30
_LENGTH = _DISCARDED - 1


class CorruptRingError(FatalError):
    """What the ring holds cannot be told into records: it is of no use any more."""


class Cursor(NamedTuple):
    """A place in the ring: byte position, and the seq of the first record at or behind it."""

    position: int
    seq: int


@dataclass
class Batch:
    """Records read in one go: ``bodies`` without their flag byte, in seq order from ``start.seq``.

    ``special`` holds indexes of bodies that must not be passed on as they are: flagged by the
    kernel, or longer than the limit given to ``read``.
    """

    start: Cursor
    end: Cursor
    bodies: list[bytes] = field(default_factory=list)
    special: list[int] = field(default_factory=list)


class Ring:
    """The only reader of one ring. Not thread-safe; positions are absolute and never wrap."""

    def __init__(self, fd: int, size: int, cursor: Cursor) -> None:
        if platform.machine() != "x86_64":
            # Plain loads order header before payload on x86-64 only.
            raise FatalError(f"the ring can be read on x86-64 only, this is {platform.machine()}")
        self._fd = fd
        self._mask = size - 1
        self._consumer_page = mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data = mmap.mmap(fd, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)
        self._consumer = memoryview(self._consumer_page).cast("Q")
        self._producer = memoryview(self._data)[:8].cast("Q")
        self._words = memoryview(self._data).cast("I")
        self.cursor = cursor
        self.release(cursor)

    @property
    def behind(self) -> int:
        """Bytes written by the kernel and not yet read here."""
        return self._producer[0] - self.cursor.position

    @property
    def end(self) -> int:
        """Where the kernel will write next."""
        return self._producer[0]

    def read(self, limit: int, longest: int) -> Batch:
        """Read up to ``limit`` whole records and move the cursor past them, releasing nothing.

        Payloads longer than ``longest`` bytes are marked special. Stops at a busy record.
        """
        # The hot loop: locals only, one comparison for every rare header, no allocation but the body.
        end = self._producer[0]
        words, data, mask = self._words, self._data, self._mask
        position, seq = start = self.cursor
        batch = Batch(start, start)
        append = batch.bodies.append
        for _ in range(limit):
            if position >= end:
                break
            offset = (position & mask) + PAGE
            length = words[offset >> 2]
            if length > longest:
                if length & _BUSY:
                    break
                if length & _DISCARDED:
                    position += ((length & _LENGTH) + HEADER_BYTES + 7) & -8
                    continue
                batch.special.append(len(batch.bodies))
            elif data[offset + 8]:
                batch.special.append(len(batch.bodies))
            append(data[offset + 9 : offset + 8 + length])
            position += (length + 15) & -8
        if position > end:
            raise CorruptRingError(
                f"the ring is corrupt: a record before position {position} ends past {end}; "
                "end this capture with `fsmon-producer detach`, start anew, and report this"
            )
        batch.end = self.cursor = Cursor(position, seq + len(batch.bodies))
        return batch

    def rewind(self, cursor: Cursor) -> None:
        """Read again from a cursor that has not been released past."""
        self.cursor = cursor

    def release(self, cursor: Cursor) -> None:
        """Give the kernel everything before ``cursor``. The cursor must be stored durably before."""
        self._consumer[0] = cursor.position

    def wait(self, seconds: float) -> None:
        """Sleep until the kernel writes a record, at most ``seconds``.

        Only when all is released: the kernel wakes a reader only for a record written at the
        consumer position, and what is unreleased makes poll return at once.
        """
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.poll(seconds * 1000)

    def close(self) -> None:
        """Unmap; the ring itself belongs to the capture."""
        for view in (self._consumer, self._producer, self._words):
            view.release()
        self._consumer_page.close()
        self._data.close()
