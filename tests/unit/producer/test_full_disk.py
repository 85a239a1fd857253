"""The spool on a disk that is full: at once, or only when it is synced."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsmon_producer.spool import SpoolFullError

from .test_spool import bodies, drained, filled, opened


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "7"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_no_loss(small_disk: Path) -> None:
    spool = opened(small_disk / "7")
    first = filled(spool, "No space left")
    assert first > 100
    with pytest.raises(SpoolFullError):
        spool.append(first, bodies(first, 200))
    spool.close()
    again = opened(small_disk / "7")
    assert drained(again) == list(range(first))
    again.release(first)
    again.append(first, bodies(first, 20))
    assert drained(again) == list(range(first, first + 20))
    again.close()


def test_a_full_disk_gives_up_the_oldest_too(small_disk: Path) -> None:
    spool = opened(small_disk / "7", 1 << 30, drop_oldest=True)
    spool._segment_bytes = 20_000
    for first in range(0, 2000, 20):
        spool.append(first, bodies(first, 20))
    assert spool.dropped.spans == [(0, spool.first)]
    assert drained(spool) == list(range(spool.first, 2000))
    assert spool.first > 0
    spool.close()


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_disk_that_is_full_only_when_synced_is_no_loss(
    directory: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsmon_producer.spool._SEGMENT_BYTES", 3_000)
    spool = opened(directory)
    spool.append(0, bodies(0, 20))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(SpoolFullError, match="No space left"):
            spool.append(20, bodies(20, 20))
    spool.append(20, bodies(20, 10))
    spool.append(30, bodies(30, 10))
    assert drained(spool) == list(range(40))
    spool.close()
    assert drained(opened(directory)) == list(range(40))
