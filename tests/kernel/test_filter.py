"""What the filter catches and what it does not, decided in the kernel."""

import ctypes
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Event, Programs, Watch
from .operations import as_expected, lay_out, run_driver

pytestmark = [pytest.mark.kernel, pytest.mark.vm]

AT_FDCWD = -100
RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Ground:
    """A watched tree with an excluded part, and a place beside it that is not watched."""

    def __init__(self, root: Path, watching: Callable[..., Watch]) -> None:
        self.watched = root / "watched"
        self.excluded = self.watched / "excluded"
        self.elsewhere = root / "elsewhere"
        self.one = root / "one"
        for folder in (self.excluded, self.elsewhere):
            folder.mkdir(parents=True)
        self.one.write_text("1")
        self.watch = watching(self.watched, self.one, exclude=(self.excluded,))

    def captured(self, script: str, *arguments: Path) -> list[Event]:
        """What a shell's commands make (our own process is never captured)."""
        self.watch.events()
        subprocess.run(["sh", "-euc", script, "sh", *map(str, arguments)], check=True)
        return self.watch.events()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, watching: Callable[..., Watch]) -> Ground:
    return Ground(tmp_path_factory.mktemp("filter"), watching)


@pytest.fixture
def bind_mount() -> Iterator[Callable[[Path, Path], None]]:
    mounted: list[Path] = []

    def bind(source: Path, target: Path) -> None:
        target.mkdir()
        subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
        mounted.append(target)

    yield bind
    for target in reversed(mounted):
        subprocess.run(["umount", "-l", str(target)], check=True)


def paths(events: list[Event], op: str) -> list[str]:
    return [event["path"] for event in events if event["op"] == op]


def test_below_a_watched_directory_and_not_beside_it(ground: Ground) -> None:
    script = (
        'mkdir -p "$1/a/b"; echo x > "$1/a/b/in"; echo x > "$2/out"; echo x > "$1-sibling"; rm "$1-sibling"'
    )
    events = ground.captured(script, ground.watched, ground.elsewhere)
    assert paths(events, "create") == [str(ground.watched / "a/b/in")]
    assert paths(events, "mkdir") == [str(ground.watched / "a"), str(ground.watched / "a/b")]
    assert not paths(events, "unlink")


def test_one_file(ground: Ground) -> None:
    events = ground.captured('cat "$1" > /dev/null; ls "$2"', ground.one, ground.one.parent)
    assert paths(events, "open") == [str(ground.one)]


def test_excluded_below_watched(ground: Ground) -> None:
    events = ground.captured('echo x > "$1/no"; mkdir "$1/deep"; echo x > "$1/deep/no"', ground.excluded)
    assert events == []


def test_moving_in_and_out(ground: Ground) -> None:
    """The verdict remembered for a file does not outlive the rename of what is above it."""
    tree = ground.elsewhere / "tree"
    script = """
        mkdir -p "$1/sub"; echo x > "$1/sub/f"; cat "$1/sub/f"
        mv "$1" "$2/moved"; cat "$2/moved/sub/f"
        mv "$2/moved" "$1"; cat "$1/sub/f"
        mv "$1/sub/f" "$2/f"; cat "$2/f"; rm "$2/f"; rm -r "$1"
    """
    events = ground.captured(script, tree, ground.watched)
    renames = [(event["path"], event["target_path"]) for event in events if event["op"] == "rename"]
    moved = ground.watched / "moved"
    assert renames == [
        (str(tree), str(moved)),
        (str(moved), str(tree)),
        (str(tree / "sub/f"), str(ground.watched / "f")),
    ]
    assert paths(events, "open") == [str(moved / "sub/f"), str(ground.watched / "f")]
    assert paths(events, "unlink") == [str(ground.watched / "f")]


def test_exchanging_directories(ground: Ground) -> None:
    inside, outside = ground.watched / "inside", ground.elsewhere / "outside"
    ground.captured('mkdir "$1" "$2"; echo 1 > "$1/i"; echo 2 > "$2/o"; cat "$1/i" "$2/o"', inside, outside)
    exchanged = _libc.renameat2(AT_FDCWD, bytes(inside), AT_FDCWD, bytes(outside), RENAME_EXCHANGE)
    assert exchanged == 0, os.strerror(ctypes.get_errno())
    events = ground.captured('cat "$1/o" "$2/i"', inside, outside)
    assert paths(events, "open") == [str(inside / "o")]


def test_exchanging_a_file_with_a_directory(ground: Ground) -> None:
    """What was below the directory has moved with it, whichever of the two is named first."""
    for first in ("file", "directory"):
        file, directory = ground.watched / f"exchanged-{first}", ground.elsewhere / f"folder-{first}"
        ground.captured('echo 1 > "$1"; mkdir "$2"; echo 2 > "$2/o"; cat "$1" "$2/o"', file, directory)
        names = (file, directory) if first == "file" else (directory, file)
        exchanged = _libc.renameat2(AT_FDCWD, bytes(names[0]), AT_FDCWD, bytes(names[1]), RENAME_EXCHANGE)
        assert exchanged == 0, os.strerror(ctypes.get_errno())
        events = ground.captured('cat "$1/o" "$2"', file, directory)
        assert paths(events, "open") == [str(file / "o")]


def test_hard_link_of_a_file_first_seen_elsewhere(ground: Ground) -> None:
    outside, link = ground.elsewhere / "hard", ground.watched / "hard"
    events = ground.captured('echo x > "$1"; cat "$1"; ln "$1" "$2"; cat "$2"; cat "$1"', outside, link)
    links = [(event["path"], event["target_path"]) for event in events if event["op"] == "link"]
    assert links == [(str(outside), str(link))]
    assert str(link) in paths(events, "open")


def test_through_a_bind_mount(
    ground: Ground, programs: Programs, bind_mount: Callable[[Path, Path], None]
) -> None:
    """Every operation, through a mount outside the watched tree, under the name the process used."""
    bound, bind = ground.watched / "bound", ground.elsewhere / "bind"
    bound.mkdir()
    bind_mount(bound, bind)
    for way in ("absolute", "relative", "dirfd", "absent"):
        folder, alias = bound / way, bind / way
        lay_out(folder, programs.noop)
        ground.watch.events()
        _, expected = run_driver(programs.driver, way, alias, alias)
        captured = [as_expected(event) for event in ground.watch.events()]
        assert Counter(captured) == expected, way


def test_bind_mount_inside_a_watched_directory(
    ground: Ground, bind_mount: Callable[[Path, Path], None]
) -> None:
    """The same file is caught by the name below the watch and not by its other one."""
    source, target = ground.elsewhere / "source", ground.watched / "target"
    ground.captured('mkdir "$1"; echo x > "$1/f"', source)
    bind_mount(source, target)
    events = ground.captured('cat "$1/f"; cat "$2/f"; chmod 600 "$1/f"; chmod 644 "$2/f"', target, source)
    assert paths(events, "open") == [str(target / "f")]
    assert paths(events, "chmod") == [str(target / "f")]


def test_pipes_sockets_and_memory_are_no_files(ground: Ground) -> None:
    code = (
        "import os, socket; r, w = os.pipe(); os.write(w, b'x'); os.read(r, 1); "
        "a, b = socket.socketpair(); a.send(b'x'); b.recv(1); os.write(os.memfd_create('m'), b'x')"
    )
    assert ground.captured(f'cd "$1"; {sys.executable} -ISc "{code}"', ground.elsewhere) == []


def test_our_own_operations_are_never_captured(ground: Ground) -> None:
    ground.watch.events()
    own = ground.watched / "own"
    own.write_text("ours")
    own.chmod(0o600)
    own.rename(own.with_name("own2"))
    own.with_name("own2").unlink()
    assert ground.watch.events() == []


def test_ignored_pid(tmp_path: Path, watching: Callable[..., Watch]) -> None:
    watch = watching(tmp_path)
    watch.events()
    with subprocess.Popen(["sh"], stdin=subprocess.PIPE, cwd=tmp_path) as shell:
        watch.capture.ignore([os.getpid(), shell.pid])
        shell.communicate(b"echo x > f\n")
    subprocess.run(["sh", "-c", "echo x > g"], cwd=tmp_path, check=True)
    assert {event["path"] for event in watch.events()} == {str(tmp_path / "g")}
