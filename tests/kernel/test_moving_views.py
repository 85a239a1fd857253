"""A file that is open through several mounts moves into the watched directory and out, and gets a link there.

What is remembered of a file is remembered by mount: of every one it must be void once the call has returned.
"""

import ctypes
import json
import os
import subprocess
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fsmon_producer.preflight import bpf_lsm_is_active

from .conftest import Watch

pytestmark = [pytest.mark.kernel, pytest.mark.vm]

MOVES = 5  # in and out, by rename and by exchange
PAUSE = 0.05
AT_FDCWD = -100
RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)

# Writes at 0, 1, 2 … until it is given a line, says when, then writes once for each name that it is given.
_WRITER = """
import json, os, select, sys, time
now = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
fd = os.open(sys.argv[1], os.O_WRONLY)
spans = []
print(flush=True)
while not select.select([sys.stdin], [], [], 0.0005)[0]:
    begin = now()
    os.pwrite(fd, b'x', len(spans))
    spans.append((begin, now()))
sys.stdin.readline()
print(json.dumps(spans), flush=True)
for line in iter(sys.stdin.readline, ''):
    os.pwrite(os.open(line.strip() or sys.argv[1], os.O_WRONLY), b'x', 1 << 20)
    print(flush=True)
"""


class Writer:
    """Has the file open in a mount of its own."""

    def __init__(self, file: Path, view: tuple[str, ...] = ()) -> None:
        command = [*view, "/usr/bin/python3", "-ISc", _WRITER, str(file)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the writer ended"
        return line

    def tell(self, line: object = "") -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.communicate(timeout=30)


@dataclass
class Ground:
    """``data``, one directory of which is watched, and a bind mount of it."""

    data: Path
    bind: Path
    watch: Watch

    @property
    def watched(self) -> Path:
        return self.data / "watched"


@pytest.fixture
def ground(tmp_path: Path, watching: Callable[..., Watch]) -> Iterator[Ground]:
    data, bind = tmp_path / "data", tmp_path / "bind"
    (data / "watched").mkdir(parents=True)
    bind.mkdir()
    (data / "file").touch()
    (data / "watched/other").touch()
    subprocess.run(["mount", "--bind", str(data), str(bind)], check=True)
    yield Ground(data, bind, watching(data / "watched"))
    subprocess.run(["umount", "-l", str(bind)], check=True)


@pytest.fixture
def writers(ground: Ground) -> Iterator[list[Writer]]:
    """Through the host's mount, through another one of it, and in a mount namespace of its own."""
    file = ground.data / "file"
    started = [Writer(file), Writer(ground.bind / "file"), Writer(file, ("unshare", "-m"))]
    yield started
    for writer in started:
        writer.close()


def exchange(first: Path, second: Path) -> None:
    done = _libc.renameat2(AT_FDCWD, bytes(first), AT_FDCWD, bytes(second), RENAME_EXCHANGE)
    assert done == 0, os.strerror(ctypes.get_errno())


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_every_write_after_a_move_has_the_new_verdict(ground: Ground, writers: list[Writer]) -> None:
    outside, inside = ground.data / "file", ground.watched / "file"
    changed = ground.watched / "other"
    moves = (
        lambda: outside.rename(inside),
        lambda: inside.rename(outside),
        lambda: exchange(changed, outside),
        lambda: exchange(outside, changed),
    )
    ground.watch.events()
    begins, ends = [], []
    for move in moves * MOVES:
        time.sleep(PAUSE)
        begins.append(now())
        move()
        ends.append(now())
    time.sleep(PAUSE)
    spans = {writer.process.pid: json.loads(writer.tell()) for writer in writers}
    captured = {(event["pid"], event["offset"]) for event in ground.watch.events() if event["op"] == "write"}
    firm = {pid: {True: 0, False: 0} for pid in spans}
    wrong = {pid: {True: 0, False: 0} for pid in spans}
    for pid, of_one in spans.items():
        for offset, (begin, end) in enumerate(of_one):
            state = bisect_right(ends, begin)
            if state == bisect_left(begins, end):  # no move while it was written
                is_inside = state % 2 == 1
                firm[pid][is_inside] += 1
                wrong[pid][is_inside] += ((pid, offset) in captured) != is_inside
    print("writes that must be captured, and must not:", firm)
    assert wrong == {pid: {True: 0, False: 0} for pid in spans}
    assert all(min(counts.values()) > MOVES for counts in firm.values())


def test_the_name_that_a_link_gives(ground: Ground, writers: list[Writer]) -> None:
    """A file of one name has a remembered no, which does not hold for the other name."""
    for writer in writers:
        writer.tell()
    ground.watch.events()
    names = [ground.watched / "link", ground.bind / "watched/link", ground.watched / "link"]
    for writer in writers:
        writer.tell()
    os.link(ground.data / "file", ground.watched / "link")
    for writer, name in zip(writers, names, strict=True):
        writer.tell(name)
    written = [(event["pid"], event["path"]) for event in ground.watch.events() if event["op"] == "write"]
    assert written == [(writer.process.pid, str(name)) for writer, name in zip(writers, names, strict=True)]


@pytest.mark.skipif(not bpf_lsm_is_active(), reason="only hooks note what a rename is about: in the guests")
def test_a_rename_that_could_not_be_noted(ground: Ground) -> None:
    """It is counted as lost; what it moved is judged anew all the same."""
    folder = ground.data / "folder"
    folder.mkdir()
    (folder / "file").touch()
    writer = Writer(folder / "file")
    writer.tell()
    notes = ground.watch.capture._bpf[b"hooked_calls"]
    fillers = [ctypes.c_uint64(1 + number) for number in range(notes.max_entries)]
    for number, key in enumerate(fillers):
        if number == notes.max_entries - 50:
            writer.tell()  # a no that is remembered when the folder moves
        try:
            notes[key] = notes.Leaf()
        except Exception:  # bcc raises plain Exception: other tasks have the rest
            break
    lost = ground.watch.capture.counters().lost["storage"].get("rename", 0)
    folder.rename(ground.watched / "folder")
    for key in list(notes):
        if key.value <= notes.max_entries:
            del notes[key]
    assert ground.watch.capture.counters().lost["storage"]["rename"] == lost + 1
    ground.watch.events()
    writer.tell(ground.watched / "folder/file")
    writer.close()
    assert [event["op"] for event in ground.watch.events() if event["pid"] == writer.process.pid] == [
        "open",
        "write",
    ]
