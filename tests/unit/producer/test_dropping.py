"""A full spool that gives up its oldest events: what is left and what is declared, whenever killed."""

import multiprocessing
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fsmon_producer.config import Config, resolve
from fsmon_producer.dropped import Dropped
from fsmon_producer.spool import SpoolFullError
from fsmon_schemas.errors import ConfigError, FatalError

from .test_spool import bodies, drained, opened

_LIMIT = 200_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "7"


def numbers(spans: list[tuple[int, int]]) -> set[int]:
    return {seq for first, end in spans for seq in range(first, end)}


def test_the_newest_stay_and_the_oldest_are_declared_also_to_the_next(directory: Path) -> None:
    spool = opened(directory, _LIMIT, drop_oldest=True)
    for first in range(0, 5000, 50):
        spool.append(first, bodies(first, 50))
        assert spool.size <= _LIMIT + 50_000  # a new file's header
    [(first, end)] = spool.dropped.spans
    assert (first, end, spool.end) == (0, spool.first, 5000)
    assert 0 < end < 4900
    assert drained(spool) == list(range(end, 5000))
    spool.close()
    again = opened(directory, _LIMIT, drop_oldest=True)
    assert again.dropped.spans == [(0, end)]
    assert drained(again) == list(range(end, 5000))
    assert [file.stat().st_size for file in directory.glob("*.dropped")] == [0]
    again.release(5000)
    again.append(5000, bodies(5000, 5))
    assert drained(again) == list(range(5000, 5005))
    again.remove()
    assert not directory.exists()


def test_what_is_acknowledged_is_not_declared(directory: Path) -> None:
    spool = opened(directory, _LIMIT, drop_oldest=True)
    spool.append(0, bodies(0, 50))
    spool.read(30)
    spool.release(30)
    for first in range(50, 4000, 50):
        spool.append(first, bodies(first, 50))
    assert spool.dropped.spans == [(30, spool.first)]
    assert drained(spool) == list(range(spool.first, 4000)), "and what is sent goes on behind it"


def test_two_outages_are_two_ranges(directory: Path) -> None:
    spool = opened(directory, _LIMIT, drop_oldest=True)
    for first in range(0, 3000, 50):
        spool.append(first, bodies(first, 50))
    oldest = spool.first
    spool.release(3000)
    for first in range(4000, 7000, 50):
        spool.append(first, bodies(first, 50))
    assert spool.dropped.spans == [(0, oldest), (4000, spool.first)]


def test_more_than_fits_at_all_drops_nothing(directory: Path) -> None:
    spool = opened(directory, 60_000, drop_oldest=True)
    spool.append(0, bodies(0, 50))
    with pytest.raises(SpoolFullError):
        spool.append(50, bodies(50, 1000))
    assert (spool.dropped.spans, spool.first, spool.end) == ([], 0, 50)


def _killed_at(directory: Path, step: int) -> None:
    """Append until it must give something up, and die at that file operation of it."""
    spool = opened(directory, _LIMIT, drop_oldest=True)
    steps = 0

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def one(*arguments: object, **named: object) -> object:
            nonlocal steps
            if spool.dropped.spans or call is rename:
                steps += 1
                if steps > step:
                    os.kill(os.getpid(), 9)
            return call(*arguments, **named)

        return one

    rename = os.rename
    for name in ("rename", "fsync", "fdatasync", "open", "unlink", "pwrite"):
        setattr(os, name, counted(getattr(os, name)))
    for first in range(spool.end, spool.end + 5000, 50):
        spool.append(first, bodies(first, 50))


@pytest.mark.parametrize("seed", [random.randrange(1 << 32)])
def test_killed_at_any_step_each_event_is_there_or_declared(directory: Path, seed: int) -> None:
    print(f"seed {seed}")
    dice = random.Random(seed)
    fork = multiprocessing.get_context("fork")
    for step in [*range(24), *dice.choices(range(24), k=10)]:
        child = fork.Process(target=_killed_at, args=(directory, step))
        child.start()
        child.join(60)
        assert child.exitcode == -9
        spool = opened(directory, _LIMIT, drop_oldest=True)
        left = drained(spool)
        gone = numbers(spool.dropped.spans)
        assert gone.isdisjoint(left)
        assert gone | set(left) == set(range(spool.end)), "neither there nor declared"
        assert len(spool.dropped.spans) == len(list(directory.glob("*.dropped"))) <= 1
        spool.close()


def test_a_disk_that_cannot_sync_the_declaration_keeps_both(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(directory, _LIMIT, drop_oldest=True)
    spool._segment_bytes = 20_000
    for first in range(0, 1000, 50):
        spool.append(first, bodies(first, 50))
    before = list(spool.dropped.spans)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        spool._give_up_oldest()
    [(first, end)] = spool.dropped.spans
    assert ([(first, end)] != before, first, end) == (True, 0, spool.first)
    assert drained(spool) == list(range(end, 1000))
    spool.append(1000, bodies(1000, 5))
    spool.close()
    assert any(file.stat().st_size for file in directory.glob("*.dropped"))
    again = opened(directory, _LIMIT, drop_oldest=True)
    assert [file.stat().st_size for file in directory.glob("*.dropped")] == [0]
    assert (again.dropped.spans, again.first, again.end) == ([(0, end)], end, 1005)


def test_a_name_that_is_none_of_ours_declares_nothing(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert Dropped(descriptor, ["1-2.dropped", "last-report", f"{0:020d}.avro"]).spans == []
    os.close(descriptor)
    (tmp_path / f"{1:020d}-{2:020d}.dropped").symlink_to("/etc/passwd")
    tmp_path.chmod(0o700)
    with pytest.raises(FatalError, match="is none of ours"):
        opened(tmp_path)


def test_dropping_the_oldest_needs_a_spool() -> None:
    with pytest.raises(ConfigError, match="needs a spool"):
        resolve({"spool_full": "drop-oldest", "spool_size": "0"}, None)
    with pytest.raises(ConfigError, match="should be one of stop, drop-oldest"):
        resolve({"spool_full": "drop"}, None)
    assert Config().spool_full == "stop"
