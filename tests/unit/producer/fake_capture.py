"""A capture without a kernel: the same ring layout in a memfd, written by the test.

Records are encoded by fastavro from whole events, so nothing of the producer's own codec is used.
"""

import io
import mmap
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
from fsmon_producer.marker import Inode
from fsmon_producer.ring import Cursor, Ring
from fsmon_producer.watches import Watched
from fsmon_schemas.schema import FILE_EVENT

PAGE = mmap.PAGESIZE
BUSY, DISCARDED = 1 << 31, 1 << 30
NOT_ASCII = 1

BASE: dict[str, Any] = {
    "host_id": "",
    "session": 0,
    "seq": 0,
    "time": 1_700_000_000_000_000,
    "boot_time": 5,
    "op": "write",
    "path": "/tmp/watched/file",
    "pid": 4,
    "tid": 4,
    "ppid": 1,
    "process_start": 7,
    "uid": 0,
    "gid": 0,
    "euid": 0,
    "comm": "cat",
    "exe": "/usr/bin/cat",
    "result": 3,
}


def event(**values: Any) -> dict[str, Any]:
    return {**BASE, **values}


def body(raw: Mapping[str, bytes] | None = None, **values: Any) -> bytes:
    """Avro from ``time`` on, as the kernel writes it; ``raw`` strings are any bytes at all."""
    raw = raw or {}
    marks = {name: chr(0xE000 + index) for index, name in enumerate(raw)}
    stream = io.BytesIO()
    # A string of n times one byte has the length wanted; where it stands its bytes are put in.
    fillers = {name: chr(1 + index) * len(raw[name]) for index, name in enumerate(marks)}
    fastavro.schemaless_writer(stream, FILE_EVENT.parsed, event(**values, **fillers))
    encoded = stream.getvalue()
    assert encoded[:3] == b"\x00\x00\x00"
    for name, filler in fillers.items():
        if filler:
            assert encoded.count(filler.encode()) == 1
        encoded = encoded.replace(filler.encode(), raw[name]) if filler else encoded
    return encoded[3:]


@dataclass
class FakeCounters:
    emitted: Counter[str] = field(default_factory=Counter)
    lost: dict[str, Counter[str]] = field(default_factory=lambda: {"ring_full": Counter()})
    uncovered: dict[str, int] = field(default_factory=dict)


class FakeCapture:
    """The kernel's half of a ring: writes records, wakes the reader as the kernel does."""

    backend = "tracepoint"
    pinned = None

    def __init__(self, ring_bytes: int = 1 << 16) -> None:
        self.ring_bytes = ring_bytes
        self.ring_fd = os.memfd_create("ring")
        os.ftruncate(self.ring_fd, 2 * PAGE + 2 * ring_bytes)
        self._map = mmap.mmap(self.ring_fd, 2 * PAGE + 2 * ring_bytes)
        self.changed = threading.Condition()
        self.woken = False
        self.cursors: list[tuple[Cursor, int]] = []
        self.detached = self.closed = False
        self.clock_syncs = 0
        self.rules: dict[Path, bool] = {}
        self.counted = FakeCounters()

    @property
    def consumer(self) -> int:
        return int(struct.unpack_from("<Q", self._map, 0)[0])

    @property
    def producer(self) -> int:
        return int(struct.unpack_from("<Q", self._map, PAGE)[0])

    def _put(self, position: int, data: bytes) -> None:
        offset = position & (self.ring_bytes - 1)
        for start in (offset, offset + self.ring_bytes, offset - self.ring_bytes):
            lo, hi = max(0, start), min(start + len(data), 2 * self.ring_bytes)
            if lo < hi:
                self._map[2 * PAGE + lo : 2 * PAGE + hi] = data[lo - start : hi - start]

    def emit(self, payload: bytes, *, bits: int = 0, op: str = "write") -> int | None:
        """One record of flag byte and body; its position, or None when it was dropped."""
        with self.changed:
            size = (len(payload) + 15) & -8
            position = self.producer
            if position + size - self.consumer > self.ring_bytes - 1:
                self.counted.lost["ring_full"][op] += 1
                return None
            self._put(position, struct.pack("<II", len(payload) | bits, 0) + payload)
            struct.pack_into("<Q", self._map, PAGE, position + size)
            if not bits & DISCARDED:
                self.counted.emitted[op] += 1
            if not bits & BUSY and self.consumer == position:
                self.woken = True
                self.changed.notify_all()
            return position

    def emit_event(
        self, *, flag: int = 0, raw: Mapping[str, bytes] | None = None, **values: Any
    ) -> int | None:
        return self.emit(bytes([flag]) + body(raw, **values), op=values.get("op", "write"))

    def commit(self, position: int) -> None:
        """Finish a busy record."""
        offset = 2 * PAGE + (position & (self.ring_bytes - 1))
        length = struct.unpack_from("<I", self._map, offset)[0] & ~BUSY
        with self.changed:
            self._put(position, struct.pack("<I", length))
            self.woken = True
            self.changed.notify_all()

    def counters(self) -> FakeCounters:
        """A snapshot, as the kernel's: a test may count on in ``counted`` meanwhile."""
        lost = {stage: dict.copy(by_op) for stage, by_op in self.counted.lost.copy().items()}
        emitted, uncovered = dict.copy(self.counted.emitted), self.counted.uncovered.copy()
        return FakeCounters(Counter(emitted), {s: Counter(by_op) for s, by_op in lost.items()}, uncovered)

    def read_cursor(self) -> tuple[int, int]:
        return self.cursors[-1][0] if self.cursors else Cursor(0, 0)

    def write_cursor(self, position: int, seq: int) -> None:
        self.cursors.append((Cursor(position, seq), self.consumer))

    def sync_clock(self) -> None:
        self.clock_syncs += 1

    def watch(self, path: Path, *, exclude: bool = False) -> None:
        self.rules[path] = exclude

    def unwatch(self, path: Path, *, exclude: bool = False) -> None:
        del self.rules[path]

    def rewatch(self, include: Iterable[Path], exclude: Iterable[Path]) -> tuple[list[Path], list[Path]]:
        raise NotImplementedError("no test with a fake ring reads its file again")

    def watched(self) -> list[Watched]:
        inode = Inode(1, (8 << 20) | 1, 0)
        return [Watched(path, exclude, inode, stands=True) for path, exclude in self.rules.items()]

    def follow_names(self) -> list[Path]:
        return []

    def resolve(self) -> None:
        pass

    def detach(self) -> None:
        self.detached = True

    def close(self) -> None:
        self.closed = True
        self._map.close()
        os.close(self.ring_fd)


class FakeRing(Ring):
    """The ring's reader; only waiting differs, for a memfd cannot be polled."""

    def __init__(self, capture: FakeCapture) -> None:
        super().__init__(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))
        self._capture = capture
        self.waits = 0

    def wait(self, seconds: float) -> None:
        self.waits += 1
        capture = self._capture
        with capture.changed:
            capture.woken = False
            if capture.producer == capture.consumer:
                capture.changed.wait_for(lambda: capture.woken, seconds)
