"""Operations through mounts beyond the limits of what is looked at: told or counted, never silent."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Watch

pytestmark = [pytest.mark.kernel, pytest.mark.vm_once]

CHANGE = "import os, sys; os.utime(sys.argv[1])"


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """A file system, to be bound to other places."""
    subprocess.run(["mount", "-t", "tmpfs", "fsmon-test", str(tmp_path)], check=True)
    try:
        subprocess.run(["mount", "--make-private", str(tmp_path)], check=True)
        (tmp_path / "fs").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "fsmon-test", str(tmp_path / "fs")], check=True)
        (tmp_path / "fs/folder").mkdir()
        (tmp_path / "fs/folder/file").touch()
        yield tmp_path
    finally:
        subprocess.run(["umount", "-lR", str(tmp_path)], check=True)


def bound(base: Path, *place: str, others: int = 1) -> Path:
    """A file in a mount at that place, with so many older and newer ones of the same file system."""

    def bind(folder: Path) -> None:
        folder.mkdir(parents=True)
        subprocess.run(["mount", "--bind", str(base / "fs"), str(folder)], check=True)

    for i in range(others):
        bind(base / f"older/{i}")
    bind(base.joinpath("watched", *place))
    for i in range(others):
        bind(base / f"newer/{i}")
    return base.joinpath("watched", *place, "folder/file")


BEYOND: dict[str, Callable[[Path], Path]] = {
    "number": lambda base: bound(base, "mount", others=20),
    "length": lambda base: bound(base, "n" * 150, "m" * 150),
    "depth": lambda base: bound(base, *["d"] * 40),
}


def unresolved(watch: Watch) -> int:
    return watch.capture.counters().uncovered.get("unresolved", 0)


@pytest.mark.parametrize("way", BEYOND.values(), ids=BEYOND)
def test_a_watch_above_such_a_mount(
    base: Path, watching: Callable[..., Watch], way: Callable[[Path], Path]
) -> None:
    file = way(base)
    watch = watching(base / "watched")
    watch.events()
    before = unresolved(watch)
    subprocess.run(["/usr/bin/python3", "-ISc", CHANGE, str(file)], check=True)
    assert watch.events() == []
    assert unresolved(watch) > before


@pytest.mark.parametrize("way", BEYOND.values(), ids=BEYOND)
def test_a_watch_in_the_file_system(
    base: Path, watching: Callable[..., Watch], way: Callable[[Path], Path]
) -> None:
    file = way(base)
    watch = watching(base / "fs/folder")
    watch.events()
    subprocess.run(["/usr/bin/python3", "-ISc", CHANGE, str(file)], check=True)
    assert [(event["op"], event["path"], event["path_truncated"]) for event in watch.events()] == [
        ("utimens", "folder/file", True)
    ]


def test_a_mount_within_the_limits(base: Path, watching: Callable[..., Watch]) -> None:
    file = bound(base, "mount", others=3)
    watch = watching(base / "watched")
    watch.events()
    before = unresolved(watch)
    subprocess.run(["/usr/bin/python3", "-ISc", CHANGE, str(file)], check=True)
    assert [(event["path"], event["path_truncated"]) for event in watch.events()] == [(str(file), False)]
    assert unresolved(watch) == before
