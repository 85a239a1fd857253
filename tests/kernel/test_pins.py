"""Capture that outlives its process, on whatever backend: pinned, taken over, replaced, removed."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsmon_producer import bpffs
from fsmon_producer.config import Config
from fsmon_producer.identity import new_session
from fsmon_producer.pins import Pins
from fsmon_producer.remains import Remains
from fsmon_producer.ring import Cursor, Ring
from fsmon_producer.succession import Begun, begin

from .conftest import Watch, decode

pytestmark = pytest.mark.kernel


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Pins]:
    pins = Pins(bpffs.prepare(tmp_path / "bpf"))
    yield pins
    for pinned in pins.sessions():
        pinned.unpin_links()
        pinned.remove()
    pins.clear()
    assert not (tmp_path / "bpf").is_mount()


def touched(directory: Path, name: str) -> None:
    subprocess.run(["sh", "-c", f"echo x > {name}"], cwd=directory, check=True)


def names(watch: Watch) -> list[tuple[str, str]]:
    return [(event["op"], Path(event["path"]).name) for event in watch.events()]


def died(begun: Begun, watch: Watch) -> None:
    """Its descriptors are closed, as a killed process's are."""
    watch.ring.close()
    begun.capture.close()


@pytest.mark.vm_once
def test_taken_over_replaced_and_removed(pins: Pins, tmp_path: Path) -> None:
    """Nothing runs beside it, so preemption is nothing to it; under load: tests/e2e/test_takeover."""
    directory = tmp_path / "watched"
    directory.mkdir()
    config = Config(watch=(directory,), ring_size=1 << 20)
    first = begin(config, new_session("h"), pins)
    watch = Watch(first.capture)
    touched(directory, "read")
    assert names(watch) == [("create", "read"), ("write", "read")]
    first.capture.write_cursor(*watch.ring.cursor)
    touched(directory, "unread")
    died(first, watch)
    touched(directory, "orphaned")

    second = begin(config, new_session("h"), pins)
    assert (second.new, second.session) == (False, first.session)
    assert sum(second.capture.counters().emitted.values()) == 6
    watch = Watch(second.capture)
    assert watch.ring.cursor.seq == 2
    (directory / "own").write_text("not to be seen")
    assert names(watch) == [(op, name) for name in ("unread", "orphaned") for op in ("create", "write")]
    second.capture.write_cursor(*watch.ring.cursor)
    touched(directory, "last")
    figures = second.capture.counters()
    died(second, watch)

    third = begin(Config(watch=(directory,), ring_size=2 << 20), new_session("h"), pins)
    assert third.new
    (old,) = third.ending
    assert (old.attached, old.identity.session) == (False, first.session)
    touched(directory, "next")
    watch = Watch(third.capture)
    assert names(watch) == [("create", "next"), ("write", "next")]
    remains = Remains(old)
    left = Ring(remains.ring_fd, remains.ring_bytes, Cursor(*remains.read_cursor()))
    events = list(map(decode, left.read(1000, 1 << 20).bodies))
    assert [(event["op"], Path(event["path"]).name) for event in events] == [
        ("create", "last"),
        ("write", "last"),
    ]
    assert left.cursor.seq == sum(remains.counters().emitted.values()) == 8
    left_over = remains.counters()
    assert (left_over.emitted, left_over.lost) == (figures.emitted, figures.lost)
    assert "recursion" in figures.lost
    left.close()
    remains.close()
    third.capture.detach()
    touched(directory, "unseen")
    assert names(watch) == []
    watch.close()


def test_a_name_is_followed_while_nobody_listens(pins: Pins, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("0")
    config = Config(watch=(log,), ring_size=1 << 20)
    first = begin(config, new_session("h"), pins)
    died(first, Watch(first.capture))
    rotate = "mv log log.$0; echo x > log"
    subprocess.run(["sh", "-c", rotate, "1"], cwd=tmp_path, check=True)
    second = begin(config, new_session("h"), pins)
    assert not second.new
    subprocess.run(["sh", "-c", f"{rotate}; echo x >> log.1", "2"], cwd=tmp_path, check=True)
    watch = Watch(second.capture)
    rotated = [("rename", "log"), ("create", "log"), ("write", "log")]
    assert names(watch) == [*rotated, *rotated, ("open", "log.1"), ("write", "log.1")]
    second.capture.detach()
    watch.close()


def test_a_start_that_was_killed_half_way_is_removed(pins: Pins, tmp_path: Path) -> None:
    (half := pins.directory / "7").mkdir()
    (half / "maps").mkdir()
    assert pins.sessions() == []
    assert not half.exists()


def test_where_nothing_can_be_pinned_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(bpffs.NoBpffsError):
        bpffs.prepare(tmp_path / "file")
    pins = bpffs.prepare(tmp_path / "open")
    try:
        pins.chmod(0o755)
        with pytest.raises(bpffs.NoBpffsError, match="mode 0700"):
            bpffs.prepare(pins)
    finally:
        bpffs.release(pins)
    assert not pins.is_mount()
