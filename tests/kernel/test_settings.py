"""What load is asked for, each in a capture of its own: natively only, a load is slow in a guest."""

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fsmon_producer.loader import CaptureSettings, load
from fsmon_schemas import ConfigError

from .conftest import Watch

pytestmark = pytest.mark.kernel


def test_only_the_operations_asked_for(tmp_path: Path, watching: Callable[..., Watch]) -> None:
    watch = watching(tmp_path, ops=frozenset({"unlink", "create"}))
    subprocess.run(
        ["sh", "-c", "echo x > f; cat f; mv f g; rm g; mkdir d; rmdir d"], cwd=tmp_path, check=True
    )
    assert [event["op"] for event in watch.events()] == ["create", "unlink"]


def test_a_watch_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(CaptureSettings(watch=(tmp_path / "missing",)))


def test_an_unknown_operation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown operation reed; known to .*read"):
        load(CaptureSettings(watch=(tmp_path,), ops=frozenset({"reed"})))


def test_a_full_ring_counts_each_loss(tmp_path: Path, watching: Callable[..., Watch]) -> None:
    """captured + lost = done, per operation, exactly, when nobody reads the ring."""
    watch = watching(tmp_path, ring_bytes=64 << 10)
    script = """
import os
for i in range(3000):
    fd = os.open(f'f{i % 7}', os.O_CREAT | os.O_RDWR)
    os.write(fd, b'x' * 10)
    os.pread(fd, 5, 0)
    os.close(fd)
    if i % 7 == 6:
        os.rename('f6', 'g')
        os.unlink('g')
"""
    subprocess.run(["/usr/bin/python3", "-ISc", script], cwd=tmp_path, check=True)
    watch.capture.detach()
    assert watch.capture.follow_names() == []  # the pipeline goes on asking while it delivers what is left
    counters = watch.capture.counters()
    lost = counters.lost["ring_full"]
    done = {"write": 3000, "read": 3000, "rename": 3000 // 7, "unlink": 3000 // 7}
    assert {op: counters.emitted.get(op, 0) + lost.get(op, 0) for op in done} == done
    opened = sum(counters.emitted.get(op, 0) + lost.get(op, 0) for op in ("open", "create"))
    assert opened == 3000
    assert sum(lost.values()) > 1000
    assert Counter(event["op"] for event in watch.events()) == Counter(counters.emitted)
