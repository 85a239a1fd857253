"""Fixtures that load the real programs into the real kernel and read the real ring."""

import io
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pytest
import static_programs
from fsmon_bpf.avro_encoder import STAMPED
from fsmon_producer.counters import Counters
from fsmon_producer.loader import CaptureSettings, load
from fsmon_producer.probe import Answer, probe
from fsmon_producer.programs import Capture
from fsmon_producer.ring import Cursor, Ring
from fsmon_schemas import FILE_EVENT

Event = dict[str, Any]
HERE = Path(__file__).parent
_declared = dict(FILE_EVENT.declared)
_declared["fields"] = _declared["fields"][len(STAMPED) :]
KERNEL_PART = fastavro.parse_schema(_declared)
LONGEST_RECORD = 1 << 20
RING_BYTES = 16 << 20


def decode(body: bytes) -> Event:
    """A record's Avro bytes as the kernel wrote them, every byte used."""
    stream = io.BytesIO(body)
    event = fastavro.schemaless_reader(stream, KERNEL_PART)
    assert stream.tell() == len(body)
    assert isinstance(event, dict)
    return event


@dataclass
class Programs:
    """The static C programs."""

    driver: Path
    noop: Path
    storm: Path
    movers: Path
    ring: Path
    compat: Path
    interrupted: Path


@pytest.fixture(scope="session")
def programs() -> Programs:
    return Programs(*map(static_programs.built, Programs.__annotations__))


class Watch:
    """A capture and its ring: ``events`` gives what was captured since it was last asked."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.ring = Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))

    def events(self) -> list[Event]:
        return list(map(decode, self.bodies()))

    def bodies(self) -> list[bytes]:
        bodies: list[bytes] = []
        self.capture.resolve()
        while True:
            batch = self.ring.read(1000, LONGEST_RECORD)
            bodies += batch.bodies
            self.ring.release(batch.end)
            if not self.ring.behind:
                return bodies

    def bodies_until(self, process: "subprocess.Popen[str]") -> list[bytes]:
        """What is captured until the process ends, the ring emptied all the while."""
        bodies = []
        while process.poll() is None:
            bodies += self.bodies()
            time.sleep(0.005)
        return bodies + self.bodies()

    def leave_room(self, room: int) -> None:
        """Make the ring as full as one whose reader is far behind, until something is read."""
        position, seq = self.ring.cursor
        self.ring.release(Cursor((position + room - self.capture.ring_bytes) % 2**64, seq))

    def close(self) -> None:
        self.ring.close()
        self.capture.close()


@dataclass
class Ground:
    """A watched directory."""

    root: Path
    watch: Watch


class Shared:
    """The capture of all tests that need no settings of their own: a load takes half a minute in a guest."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self.answers: list[Answer] = []
        self.after_probe: tuple[Counters, tuple[int, int]] | None = None

    def _probe(self, capture: Capture, ops: frozenset[str]) -> None:
        self.answers = probe(capture, ops)
        self.after_probe = capture.counters(), capture.read_cursor()

    def with_paths(self, paths: tuple[Path, ...], exclude: tuple[Path, ...]) -> Watch:
        if self._watch is None:
            self._watch = Watch(load(CaptureSettings(watch=(), ring_bytes=RING_BYTES), first=self._probe))
        for path in exclude:
            self._watch.capture.watch(path, exclude=True)
        for path in paths:
            self._watch.capture.watch(path)
        return self._watch

    def without(self, rules: list[tuple[Path, bool]]) -> None:
        for path, exclude in rules:
            assert self._watch is not None
            self._watch.capture.unwatch(path, exclude=exclude)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()


@pytest.fixture(scope="session")
def shared() -> Iterator[Shared]:
    captures = Shared()
    yield captures
    captures.close()


@pytest.fixture(scope="module")
def watching(shared: Shared) -> Iterator[Callable[..., Watch]]:
    """Watch paths by the shared capture, or with settings by one of their own that ends with the module."""
    own: list[Watch] = []
    rules: list[tuple[Path, bool]] = []

    def start(*paths: Path, exclude: tuple[Path, ...] = (), **settings: Any) -> Watch:
        if not settings:
            rules.extend([(path, True) for path in exclude] + [(path, False) for path in paths])
            return shared.with_paths(paths, exclude)
        settings.setdefault("ring_bytes", RING_BYTES)
        own.append(Watch(load(CaptureSettings(watch=paths, exclude=exclude, **settings))))
        return own[-1]

    yield start
    shared.without(rules)
    for watch in own:
        watch.close()
