"""COUNT of each operation give exactly COUNT events, wherever the files are and whatever they are called."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsmon_producer.record import CURRENT

from .conftest import Programs, Watch
from .operations import as_expected, lay_out, run_driver

pytestmark = [pytest.mark.kernel, pytest.mark.vm]

LONGEST_PATH = 4095
DEEPEST = 128  # levels; docs/schema.md, path_truncated
# Each name of bytes that somebody's tools stumble over.
NAMES = (
    "naïve-漢-🎉".encode(),
    b"broken-\xff\xfe\x80",
    b"line\nbreak\ttab",
    b'quote" and \\ and space',
    b"really there (deleted)",
    b"n" * 255,
)
DRIVER_NAMES = "driver", "noop"


def named_in(folder: Path, path: bytes) -> str:
    """The path below ``folder``; one that was cut begins with a whole component of the folder's."""
    text = os.fsdecode(path)
    parts = folder.parts[1:]
    starts = (
        ["/".join(parts[first:]) + "/" for first in range(len(parts))] if text[0] != "/" else [f"{folder}/"]
    )
    for start in starts:
        if text.startswith(start):
            return text.removeprefix(start)
    raise AssertionError(f"{text!r} is not below {folder!r}")


def below(folder: Path, event: dict[str, Any]) -> dict[str, Any]:
    """The event as if folder were called PLACE."""
    names = {}
    for name in ("path", "target_path"):
        if event[name] is None or (name == "target_path" and event["op"] == "symlink"):
            names[name] = event[name] and event[name].decode()
            continue
        names[name] = "PLACE/" + named_in(folder, event[name])
    return {**event, **names}


def is_beyond(folder: Path, event: dict[str, Any]) -> bool:
    """Whether a path of it is longer or, where it was walked, deeper than is told."""
    names = [name.removeprefix("PLACE") for name in as_expected(event)[2:4] if name.startswith("PLACE")]
    is_walked = event["path_source"] != "d_path"
    return any(
        len(bytes(folder)) + len(name) > LONGEST_PATH
        or (is_walked and len(folder.parts) + name.count("/") > DEEPEST)
        for name in names
    )


def place_of_names(root: Path) -> Path:
    return root.joinpath(*map(os.fsdecode, NAMES))


def place_of_levels(root: Path, levels: int) -> Path:
    return root.joinpath(*["L" * 3] * levels)


def place_of_length(root: Path, length: int) -> Path:
    left = length - len(bytes(root))
    names = []
    while left:
        # A slash and at most 255 bytes, and never only a slash left.
        step = min(256, left if left != 257 else 255)
        names.append("n" * (step - 1))
        left -= step
    return root.joinpath(*names)


PLACES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "names": ("absolute", place_of_names),
    "60 levels": ("absolute", lambda root: place_of_levels(root, 60)),
    "200 levels": ("relative", lambda root: place_of_levels(root, 200)),
    "4,000 bytes": ("relative", lambda root: place_of_length(root, 4000)),
    # "sub/rd22" has 4,096 bytes and what the driver names otherwise has fewer.
    "4,095 bytes": ("relative", lambda root: place_of_length(root, LONGEST_PATH - 8)),
}


@pytest.mark.parametrize(("way", "place"), PLACES.values(), ids=PLACES)
def test_operations_in_a_place(
    tmp_path: Path,
    programs: Programs,
    watching: Callable[..., Watch],
    way: str,
    place: Callable[[Path], Path],
) -> None:
    folder = place(tmp_path)
    lay_out(folder, programs.noop)
    watch = watching(tmp_path)
    watch.bodies()
    lost = watch.capture.counters().lost
    _, expected = run_driver(programs.driver, way, folder, Path("PLACE"))
    events = [below(folder, CURRENT.decode_kernel(body)) for body in watch.bodies()]
    captured = Counter(map(as_expected, events))
    assert captured == expected
    assert watch.capture.counters().lost == lost
    wrong = [event for event in events if event["path_truncated"] != is_beyond(folder, event)]
    assert wrong == []


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """An upper layer cannot lie on an overlay, which a guest's and a container's / is."""
    subprocess.run(["mount", "-t", "tmpfs", "fsmon-test", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.fixture
def overlay(tmpfs: Path) -> Iterator[Path]:
    lower, upper, work, merged = (tmpfs / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower, upper, work, merged):
        folder.mkdir()
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(merged)], check=True)
    yield merged
    subprocess.run(["umount", "-l", str(merged)], check=True)


def captured_by(watch: Watch) -> Counter[tuple[str, ...]]:
    """What the driver did, without the commands that led to its view."""
    return Counter(as_expected(event) for event in watch.events() if event["comm"] in DRIVER_NAMES)


@pytest.mark.parametrize("way", ["absolute", "dirfd", "absent"])
def test_operations_on_an_overlay(
    overlay: Path, programs: Programs, watching: Callable[..., Watch], way: str
) -> None:
    lay_out(overlay / "ground", programs.noop)
    watch = watching(overlay)
    watch.events()
    before = Counter(watch.capture.counters().uncovered)
    _, expected = run_driver(programs.driver, way, overlay / "ground", overlay / "ground")
    unresolved = 0
    if watch.capture.backend == "tracepoint":
        # overlayfs sets no change time of its own inode: of a link only the directory is named.
        unseen = [event for event in expected.elements() if event[1] == "link"]
        expected -= Counter(unseen)
        unresolved = len(unseen)
    assert captured_by(watch) == expected
    grown = Counter(watch.capture.counters().uncovered) - before
    assert grown["unresolved"] >= unresolved  # other processes are counted, too


@pytest.mark.parametrize("way", ["absolute", "dirfd"])
def test_operations_below_another_root(
    tmp_path: Path, programs: Programs, watching: Callable[..., Watch], way: str
) -> None:
    lay_out(tmp_path / "root/ground", programs.noop)
    driver = tmp_path / "root/driver"
    shutil.copy(programs.driver, driver)
    watch = watching(tmp_path / "root/ground")
    watch.events()
    ground = Path("/ground")
    _, expected = run_driver(Path("/driver"), way, ground, ground, view=("chroot", tmp_path / "root"))
    assert captured_by(watch) == expected


@pytest.mark.parametrize("way", ["absolute", "dirfd"])
def test_operations_below_a_root_in_a_mount_of_the_same_file_system(
    tmp_path: Path, programs: Programs, watching: Callable[..., Watch], way: str
) -> None:
    """That file system's mount at the very top is none that the task can name."""
    outer = tmp_path / "outer"
    lay_out(outer / "root/ground", programs.noop)
    shutil.copy(programs.driver, outer / "root/driver")
    subprocess.run(["mount", "--bind", outer, outer], check=True)
    try:
        watch = watching(outer / "root/ground")
        watch.events()
        ground = Path("/ground")
        _, expected = run_driver(Path("/driver"), way, ground, ground, view=("chroot", outer / "root"))
        assert captured_by(watch) == expected
    finally:
        subprocess.run(["umount", "-l", outer], check=True)


@pytest.mark.parametrize("way", ["absolute", "dirfd"])
def test_operations_in_another_mount_namespace(
    tmp_path: Path, programs: Programs, watching: Callable[..., Watch], way: str
) -> None:
    """Through a mount that this namespace alone has."""
    ground, alias = tmp_path / "ground", tmp_path / "alias"
    lay_out(ground, programs.noop)
    alias.mkdir()
    watch = watching(ground)
    watch.events()
    bind = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
    view = ("unshare", "-m", "sh", "-euc", bind, "sh", ground, alias)
    _, expected = run_driver(programs.driver, way, alias, alias, view=view)
    assert captured_by(watch) == expected
