"""Fixtures that load the real programs into the real kernel and read the real ring."""

import io
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fsmon_bpf.avro_encoder import STAMPED
from fsmon_producer.loader import CaptureSettings, load
from fsmon_producer.programs import Capture
from fsmon_producer.ring import Cursor, Ring
from fsmon_schemas import FILE_EVENT

Event = dict[str, Any]
HERE = Path(__file__).parent
_declared = dict(FILE_EVENT.declared)
_declared["fields"] = _declared["fields"][len(STAMPED) :]
KERNEL_PART = fastavro.parse_schema(_declared)
LONGEST_RECORD = 1 << 20


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
    uncovered: Path


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    folder = tmp_path_factory.mktemp("programs")
    for name in ("driver", "noop", "uncovered"):
        command = [
            "gcc",
            "-static",
            "-O1",
            "-Wall",
            "-Werror",
            "-o",
            str(folder / name),
            str(HERE / f"{name}.c"),
        ]
        subprocess.run(command, check=True)
    return Programs(folder / "driver", folder / "noop", folder / "uncovered")


class Watch:
    """A capture and its ring: ``events`` gives what was captured since it was last asked."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.ring = Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))

    def events(self) -> list[Event]:
        events: list[Event] = []
        while True:
            batch = self.ring.read(1000, LONGEST_RECORD)
            events += [decode(body) for body in batch.bodies]
            self.ring.release(batch.end)
            if not self.ring.behind:
                return events


@pytest.fixture(scope="module")
def watching() -> Iterator[Callable[..., Watch]]:
    """Start captures with given settings; they end with the module."""
    watches: list[Watch] = []

    def start(*paths: Path, **settings: Any) -> Watch:
        settings.setdefault("ring_bytes", 16 << 20)
        watches.append(Watch(load(CaptureSettings(watch=paths, **settings))))
        return watches[-1]

    yield start
    for watch in watches:
        watch.ring.close()
        watch.capture.close()
