"""COUNT of each operation give exactly COUNT events, whatever way the files are named."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator

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


@pytest.mark.parametrize("way", WAYS)
def test_every_operation_is_captured_exactly(ground: Ground, programs: Programs, way: str) -> None:
    folder = ground.root / way
    lay_out(folder, programs.noop)
    ground.watch.events()
    lost = ground.watch.capture.counters().lost
    pid, expected = run_driver(programs.driver, way, folder, folder)
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
