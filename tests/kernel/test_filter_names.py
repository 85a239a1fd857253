"""A watched name that another file is given, whatever gives it: watched from the call's return on."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Watch

pytestmark = [pytest.mark.kernel, pytest.mark.vm_once]

AT_FDCWD = -100
RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)
_USE = '; echo more >> "$1"; chmod 600 "$1"'
_USED = [("open", "f"), ("write", "f"), ("chmod", "f")]
_WAYS = {
    "save": ('echo x > "$1.new"; mv "$1.new" "$1"', [("rename", "f.new")]),
    "rotate": (
        'mv "$1" "$1.1"; echo x > "$1"; echo x >> "$1.1"',
        [("rename", "f"), ("create", "f"), ("write", "f"), ("open", "f.1"), ("write", "f.1")],
    ),
    "vim": (
        'mv "$1" "$1~"; echo x > "$1"; rm "$1~"',
        [("rename", "f"), ("create", "f"), ("write", "f"), ("unlink", "f~")],
    ),
    "link": ('echo x > "$1.new"; rm "$1"; ln "$1.new" "$1"', [("unlink", "f"), ("link", "f.new")]),
    "back": ('mv "$1" "$1.1"; mv "$1.1" "$1"', [("rename", "f"), ("rename", "f.1")]),
    "again": (
        'echo 1 > "$1.new"; mv "$1.new" "$1"; rm "$1"; echo 2 > "$1"; rm "$1"; echo 3 > "$1"',
        [("rename", "f.new"), *[("unlink", "f"), ("create", "f"), ("write", "f")] * 2],
    ),
}


@pytest.fixture
def watch(watching: Callable[..., Watch]) -> Iterator[Watch]:
    """The shared capture; its rules are put back."""
    watch = watching()
    rules = watch.capture.watched()
    yield watch
    watch.capture.rewatch(
        [each.path for each in rules if not each.exclude], [each.path for each in rules if each.exclude]
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "f").write_text("first")
    return tmp_path / "f"


def captured(watch: Watch, script: str, file: Path) -> list[tuple[str, str]]:
    watch.events()
    subprocess.run(["sh", "-euc", script, "sh", str(file)], check=True)
    return [(event["op"], Path(event["path"]).name) for event in watch.events()]


@pytest.mark.parametrize("way", _WAYS)
def test_a_file_is_replaced(watch: Watch, file: Path, way: str) -> None:
    watch.capture.watch(file)
    script, expected = _WAYS[way]
    assert captured(watch, script + _USE, file) == expected + _USED
    assert watch.capture.follow_names() == ([] if way == "back" else [file])
    assert watch.capture.follow_names() == []
    assert captured(watch, _USE[1:], file) == _USED


def test_a_special_file_takes_the_name(watch: Watch, file: Path) -> None:
    watch.capture.watch(file)
    made = [("unlink", "f"), ("mknod", "f"), ("chmod", "f")]
    assert captured(watch, 'rm "$1"; mkfifo "$1"; chmod 600 "$1"', file) == made


def test_two_files_change_places(watch: Watch, file: Path) -> None:
    other = file.with_name("other")
    other.write_text("x")
    watch.capture.watch(file)
    exchanged = _libc.renameat2(AT_FDCWD, bytes(other), AT_FDCWD, bytes(file), RENAME_EXCHANGE)
    assert exchanged == 0, os.strerror(ctypes.get_errno())
    assert captured(watch, _USE[1:] + '; echo x >> "${1%f}other"', file) == [
        *_USED,
        ("open", "other"),
        ("write", "other"),
    ]


@pytest.mark.parametrize("way", ["mkdir", "mv", "behind a link"])
def test_a_directory_is_made_again(watch: Watch, tmp_path: Path, way: str) -> None:
    """With what is below it; the event of its making as well."""
    folder = tmp_path / "f"
    folder.mkdir()
    (tmp_path / "link").symlink_to("f")
    watch.capture.watch(tmp_path / "link" if way == "behind a link" else folder)
    script = 'mkdir "$1.new"; mv "$1.new" "$1"' if way == "mv" else 'mkdir "$1"'
    assert captured(watch, f'rmdir "$1"; {script}; echo x > "$1/in"', folder) == [
        ("rmdir", "f"),
        ("rename", "f.new") if way == "mv" else ("mkdir", "f"),
        ("create", "in"),
        ("write", "in"),
    ]


def test_an_excluded_name(watch: Watch, file: Path) -> None:
    """The programs leave out no file of themselves: it could be passed through the name to hide it."""
    watch.capture.watch(file.parent)
    watch.capture.watch(file, exclude=True)
    assert captured(watch, 'echo x >> "$1"', file) == []
    assert captured(watch, 'echo x > "$1.new"; mv "$1.new" "$1"; chmod 600 "$1"', file) == [
        ("create", "f.new"),
        ("write", "f.new"),
        ("rename", "f.new"),
        ("chmod", "f"),
    ]
    assert watch.capture.follow_names() == [file]
    assert captured(watch, 'echo x >> "$1"', file) == []


def test_rules_that_come_and_go(watch: Watch, file: Path) -> None:
    """What was replaced meanwhile stays watched under a new set of rules; a rule taken back ends it all."""
    capture, (save, _) = watch.capture, _WAYS["save"]
    rules = [each.path for each in capture.watched()]
    capture.watch(file)
    captured(watch, f'{save}; mv "$1" "$1.1"; {save}', file)
    capture.rewatch([*rules, file], [])
    assert captured(watch, f'{save}; echo x >> "$1.1"', file) == [
        ("rename", "f.new"),
        ("open", "f.1"),
        ("write", "f.1"),
    ]
    capture.unwatch(file)
    assert captured(watch, save + _USE, file) == []
    assert capture.follow_names() == []


def test_the_directory_above_is_replaced(watch: Watch, tmp_path: Path) -> None:
    """Within a second, by user space; what is given the name after that is watched at once again."""
    folder, file = tmp_path / "folder", tmp_path / "folder/f"
    folder.mkdir()
    file.write_text("x")
    watch.capture.watch(file)
    assert captured(watch, 'd="${1%/f}"; mv "$d" "$d.old"; mkdir "$d"; echo x > "$1"', file) == []
    assert watch.capture.follow_names() == [file]
    save, expected = _WAYS["save"]
    assert captured(watch, save + _USE, file) == expected + _USED
    assert captured(watch, 'cd "${1%/f}.old"; rm f; echo x > f', file) == [("unlink", "f")]
