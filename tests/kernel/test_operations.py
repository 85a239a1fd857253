"""COUNT of each operation give exactly COUNT events, whatever way the files are named."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Event, Ground, Programs, Watch

pytestmark = pytest.mark.kernel

COUNT = 23
WAYS = ("absolute", "relative", "dirfd", "symlink", "dotdot", "absent")


@pytest.fixture(scope="module", params=["disk", pytest.param("tmpfs", marks=pytest.mark.vm)])
def ground(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, watching: Callable[..., Watch]
) -> Iterator[Ground]:
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "fsmon-test", str(root)], check=True)
    try:
        yield Ground(root, watching(root))
    finally:
        if request.param == "tmpfs":
            subprocess.run(["umount", "-l", str(root)], check=True)


def lay_out(folder: Path, programs: Programs) -> None:
    for name in ("sub", "up"):
        (folder / name).mkdir(parents=True)
    (folder / "alias").symlink_to(".")
    shutil.copy(programs.noop, folder / "noop")


def run_driver(
    programs: Programs, way: str, folder: Path, shown_as: Path
) -> tuple[int, Counter[tuple[str, ...]]]:
    """The driver's pid, and what it says must be captured."""
    with subprocess.Popen(
        [str(programs.driver), way, str(folder), str(shown_as), str(COUNT)], stdout=subprocess.PIPE, text=True
    ) as driver:
        expected, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0
    return driver.pid, Counter(tuple(line.split("\t")) for line in expected.splitlines())


def as_expected(event: Event) -> tuple[str, ...]:
    """An event in the driver's words."""
    asked = event["length"] if event["op"] in ("read", "write") and event["syscall"] not in VECTORS else None
    if event["op"] in ("truncate", "fallocate", "mmap"):
        asked = event["length"]
    return (
        str(event["pid"]),
        event["op"],
        event["path"],
        event["target_path"] or "-",
        str(event["result"]),
        "-" if asked is None else str(asked),
    )


VECTORS = (19, 20, 295, 296, 327, 328)  # readv, writev and their relatives: their length is not an argument


@pytest.mark.parametrize("way", WAYS)
def test_every_operation_is_captured_exactly(ground: Ground, programs: Programs, way: str) -> None:
    folder = ground.root / way
    lay_out(folder, programs)
    ground.watch.events()
    lost = ground.watch.capture.counters().lost
    pid, expected = run_driver(programs, way, folder, folder)
    events = ground.watch.events()
    captured = Counter(as_expected(event) for event in events)
    assert captured == expected
    assert ground.watch.capture.counters().lost == lost
    for event in events:
        assert event["comm"] in ("driver", "noop")
        assert event["exe"] == str(programs.driver) or event["op"] == "exec"
        assert event["ppid"] or event["pid"] != pid
        assert (event["uid"], event["gid"], event["euid"]) == (0, 0, 0)
        assert not event["path_truncated"]
