"""What is watched changes while programs run: at once, and nothing of what stays watched is lost."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from fsmon_schemas import ConfigError
from vm.scale import scaled

from .conftest import Event, Watch

pytestmark = [pytest.mark.kernel, pytest.mark.vm]

# Writes a byte at each offset that it is asked for, and says when it has.
_ON_REQUEST = """
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print(flush=True)
for line in sys.stdin:
    os.pwrite(fd, b'x', int(line))
    print(flush=True)
"""
# Seconds between two writes: we must keep up with reading them, which emulation slows and a pause not.
_PAUSE = 0.5 / scaled(1000)
# Writes at 0, 1, 2 … until there is nothing more to read, then says how many.
_ALL_THE_TIME = f"""
import os, select, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
done = 0
print(flush=True)
while not select.select([sys.stdin], [], [], {_PAUSE})[0]:
    os.pwrite(fd, b'x', done)
    done += 1
print(done, flush=True)
"""


class Writer:
    """A process with a file of ours open."""

    def __init__(self, code: str, path: Path) -> None:
        self.path = path
        command = ["/usr/bin/python3", "-ISc", code, str(path)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the writer ended"
        return line

    def write(self, offset: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{offset}\n")
        self.answer()

    def stop(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.stdout is not None
        told = self.process.stdout.read()
        self.process.stdout.close()
        self.process.wait(30)
        return told


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that is watched all the time, with one inside that is excluded now and then."""
    path = tmp_path_factory.mktemp("steady")
    (path / "inner").mkdir()
    return path


@pytest.fixture(scope="module")
def watch(steady: Path, watching: Callable[..., Watch]) -> Watch:
    return watching(steady)


@pytest.fixture
def other_rules(watch: Watch) -> Iterator[None]:
    """Put back afterwards: the capture is shared with other tests."""
    rules = watch.capture.watched()
    yield
    watch.capture.rewatch(
        [each.path for each in rules if not each.exclude], [each.path for each in rules if each.exclude]
    )


@pytest.fixture
def writer() -> Iterator[Callable[[str, Path], Writer]]:
    started: list[Writer] = []

    def start(code: str, path: Path) -> Writer:
        started.append(Writer(code, path))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        for pipe in (each.process.stdin, each.process.stdout):
            if pipe is not None:
                pipe.close()


def writes(events: list[Event], path: Path) -> list[int]:
    return [event["offset"] for event in events if event["op"] == "write" and event["path"] == str(path)]


def test_rules_come_and_go_under_writers(
    steady: Path, watch: Watch, tmp_path: Path, writer: Callable[[str, Path], Writer]
) -> None:
    """Every write of the steady one; of the others each while they are watched, none while they are not."""
    always = [writer(_ALL_THE_TIME, steady / f"always{number}") for number in range(2)]
    other = writer(_ON_REQUEST, tmp_path / "other")
    inner = writer(_ON_REQUEST, steady / "inner" / "file")
    capture, events = watch.capture, watch.events()
    lost = capture.counters().lost
    turns = scaled(1000)
    for turn in range(turns):
        capture.watch(tmp_path)
        capture.watch(steady / "inner", exclude=True)
        other.write(2 * turn)
        inner.write(2 * turn)
        capture.unwatch(tmp_path)
        capture.unwatch(steady / "inner", exclude=True)
        other.write(2 * turn + 1)
        inner.write(2 * turn + 1)
        events += watch.events()
    done = {each.path: int(each.stop()) for each in always}
    events += watch.events()
    assert writes(events, other.path) == list(range(0, 2 * turns, 2))
    assert writes(events, inner.path) == list(range(1, 2 * turns, 2))
    for path, count in done.items():
        assert count > turns // 10  # it wrote all the while, however busy the machine
        assert writes(events, path) == list(range(count)), path
    assert capture.counters().lost == lost


def test_one_inode_under_two_names_is_watched_until_both_are_gone(
    watch: Watch, tmp_path: Path, writer: Callable[[str, Path], Writer]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("x")
    second.hardlink_to(first)
    hand = writer(_ON_REQUEST, first)
    capture = watch.capture
    changes = (
        partial(capture.watch, first),
        partial(capture.watch, second),
        partial(capture.unwatch, first),
        partial(capture.watch, first, exclude=True),
        partial(capture.unwatch, first, exclude=True),
        partial(capture.unwatch, second),
    )
    for offset, change in enumerate(changes):
        change()
        hand.write(offset)
    assert writes(watch.events(), first) == [0, 1, 2, 4]


def test_the_last_sixteen_files_of_a_name_stay_watched(
    watch: Watch, tmp_path: Path, writer: Callable[[str, Path], Writer]
) -> None:
    """A rotated log is still written to; that a name is replaced every second must not fill the map."""
    log = tmp_path / "log"
    log.write_text("0")
    watch.capture.watch(log)
    hands = {0: writer(_ON_REQUEST, log)}
    for version in range(1, 21):
        log.rename(tmp_path / f"log.{version - 1}")
        log.write_text(str(version))
        assert watch.capture.follow_names() == [log]
        if version == 5:
            hands[version] = writer(_ON_REQUEST, log)
    watch.events()
    for version, hand in hands.items():
        hand.write(version)
    assert writes(watch.events(), tmp_path / "log.5") == [5]
    watch.capture.unwatch(log)
    hands[5].write(1)
    assert watch.events() == []


@pytest.mark.usefixtures("other_rules")
def test_a_new_set_of_rules(
    steady: Path, watch: Watch, tmp_path: Path, writer: Callable[[str, Path], Writer]
) -> None:
    """What is not there refuses the whole set; a name that is known may be gone."""
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    capture, (a, b, c) = watch.capture, folders
    hands = [writer(_ON_REQUEST, folder / "file") for folder in folders]

    def seen() -> list[int]:
        watch.events()
        for hand in hands:
            hand.write(0)
        found = Counter(event["path"] for event in watch.events())
        return [found[str(hand.path)] for hand in hands]

    capture.rewatch([steady], [])
    assert capture.rewatch([steady, a, b], []) == ([a, b], [])
    assert seen() == [1, 1, 0]
    with pytest.raises(ConfigError, match=r"cannot watch .*missing: No such file"):
        capture.rewatch([steady, c, tmp_path / "missing"], [])
    assert seen() == [1, 1, 0]
    subprocess.run(["mv", str(a), str(tmp_path / "moved")], check=True)
    assert capture.rewatch([steady, a, c], []) == ([c], [b])
    hands[0].path = tmp_path / "moved/file"
    assert seen() == [1, 0, 1]
    assert {each.path: each.stands for each in capture.watched()} == {a: False, c: True, steady: True}
    inode = next(each.inode for each in capture.watched() if each.path == c)
    assert str(inode).endswith(f":{c.stat().st_ino}")
    with pytest.raises(ConfigError, match="is not watched"):
        capture.unwatch(b)
