"""A clock that is set by hours moves an event's time, and nothing else."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Watch

pytestmark = pytest.mark.kernel
HOURS = 5 * 3600


@pytest.mark.parametrize("hours", [HOURS, -HOURS])
def test_only_the_time_moves(
    tmp_path: Path, watching: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    watch = watching(tmp_path)
    watch.events()
    seq = watch.ring.cursor.seq
    real = time.clock_gettime_ns

    def shifted(clock: int) -> int:
        return real(clock) + (hours * 1_000_000_000 if clock == time.CLOCK_REALTIME else 0)

    subprocess.run(["touch", str(tmp_path / "before")], check=True)
    monkeypatch.setattr(time, "clock_gettime_ns", shifted)
    watch.capture.sync_clock()
    subprocess.run(["touch", str(tmp_path / "after")], check=True)
    monkeypatch.undo()
    watch.capture.sync_clock()
    subprocess.run(["touch", str(tmp_path / "again")], check=True)
    before, after, again = [event for event in watch.events() if event["op"] == "create"]
    moved = (after["time"] - before["time"]).total_seconds()
    assert abs(moved - hours) < 5
    assert before["boot_time"] < after["boot_time"] < again["boot_time"]
    assert abs((again["time"] - before["time"]).total_seconds()) < 10
    assert watch.ring.cursor.seq > seq + 2
