"""COUNT of each operation give exactly COUNT events, whatever way the files are named."""

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Ground, Programs, Watch
from .operations import WAYS, as_expected, lay_out, run_driver

pytestmark = pytest.mark.kernel


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


def check(ground: Ground, programs: Programs, way: str, folder: Path, ids: tuple[int, ...]) -> None:
    lay_out(folder, programs.noop)
    ground.watch.events()
    lost = ground.watch.capture.counters().lost
    pid, expected = run_driver(programs.driver, way, folder, folder, ids=ids)
    events = ground.watch.events()
    captured = Counter(as_expected(event) for event in events)
    assert captured == expected
    assert ground.watch.capture.counters().lost == lost
    uid, euid, gid, _ = ids or (0, 0, 0, 0)
    for event in events:
        assert (event["comm"], event["ppid"]) == (
            ("driver", os.getpid()) if event["pid"] == pid else ("noop", pid)
        )
        assert event["exe"] == str(programs.driver if event["pid"] == pid else folder / "noop")
        assert (event["uid"], event["euid"], event["gid"]) == (uid, euid, gid)
        assert not event["path_truncated"]


@pytest.mark.parametrize("way", WAYS)
def test_every_operation_is_captured_exactly(ground: Ground, programs: Programs, way: str) -> None:
    check(ground, programs, way, ground.root / way, ())


def test_every_operation_is_captured_with_its_ids(ground: Ground, programs: Programs) -> None:
    check(ground, programs, "absolute", ground.root / "ids", (2001, 2002, 1001, 1002))
