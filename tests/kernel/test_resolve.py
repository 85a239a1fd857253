"""Backend ``resolve``: what paths meant is found out by user space, after the operation."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fsmon_bpf.backends import RESOLVE, TRACEPOINT
from fsmon_bpf.btf import Btf
from fsmon_producer import preflight
from vm.scale import scaled

from . import verifier
from .conftest import Ground, Programs, Watch
from .operations import COUNT, WAYS, as_expected, lay_out, run_driver

pytestmark = [pytest.mark.kernel, pytest.mark.vm_once]

_IN_JAIL = "os.chroot(sys.argv[1]); os.mkdir('/made')"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is watched by itself."""
    file = tmp_path_factory.mktemp("beside") / "alone"
    file.touch()
    return file


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, alone: Path, watching: Callable[..., Watch]) -> Ground:
    root = tmp_path_factory.mktemp("resolve")
    return Ground(root, watching(root, alone, backend="resolve"))


def unresolved(ground: Ground) -> int:
    return ground.watch.capture.counters().uncovered.get("unresolved", 0)


def python(script: str, *arguments: Path) -> subprocess.Popen[str]:
    """A process that does it and stays until its input ends."""
    whole = f"import os, sys; {script}; print(flush=True); sys.stdin.read()"
    command = ["/usr/bin/python3", "-ISc", whole, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "\n"
    return process


def ended(process: subprocess.Popen[str]) -> None:
    process.communicate()
    assert process.returncode == 0


def named(ground: Ground) -> list[tuple[str, str, str | None]]:
    events = [event for event in ground.watch.events() if event["path_source"] == "resolved"]
    return [(event["op"], event["path"], event["target_path"]) for event in events]


def test_it_stands_in_where_the_kernel_names_no_inodes() -> None:
    btf = Btf.of_kernel()
    names = btf.has_tracepoint("ctime_ns_xchg")
    assert preflight.choose_backend("tracepoint", btf) is (TRACEPOINT if names else RESOLVE)


@pytest.mark.parametrize("way", WAYS)
def test_every_operation_is_captured_exactly_or_counted(ground: Ground, programs: Programs, way: str) -> None:
    """On a busy machine the driver may have ended before its paths are followed."""
    folder = ground.root / way
    lay_out(folder, programs.noop)
    ground.watch.events()
    lost, before = ground.watch.capture.counters().lost, unresolved(ground)
    _, expected = run_driver(programs.driver, way, folder, folder, count=max(2, scaled(COUNT)))
    captured = Counter(as_expected(event) for event in ground.watch.events())
    assert captured - expected == Counter()
    assert (expected - captured).total() <= unresolved(ground) - before
    assert ground.watch.capture.counters().lost == lost


def test_no_program_grows_by_more_than_a_quarter(ground: Ground) -> None:
    assert verifier.outgrown("resolve", verifier.figures(ground.watch.capture)) == {}


def test_what_leads_in_from_outside(ground: Ground, tmp_path: Path) -> None:
    """By a symbolic link, by a bind mount, and from one side to the other; what stays outside is no event."""
    inside, bound = ground.root / "inside", tmp_path / "bound"
    inside.mkdir()
    bound.mkdir()
    (tmp_path / "link").symlink_to(inside)
    subprocess.run(["mount", "--bind", inside, bound], check=True)
    try:
        ground.watch.events()
        script = (
            "os.chdir(sys.argv[1]); os.mkdir('link/a'); os.mkdir('bound/b'); os.mkdir('c'); "
            "os.rename('c', 'link/c'); os.rename('link/c', 'd'); os.rename('d', 'e'); "
            "os.symlink('x', 'link/s'); os.chmod('link/s/../a', 0o700)"
        )
        os.mkdir(inside / "x")  # noqa: PTH102
        ended(python(script, tmp_path))
        found = named(ground)
    finally:
        subprocess.run(["umount", bound], check=True)
    assert found == [
        ("mkdir", str(inside / "a"), None),
        ("mkdir", str(bound / "b"), None),
        ("rename", str(tmp_path / "c"), str(inside / "c")),
        ("rename", str(inside / "c"), str(tmp_path / "d")),
        ("symlink", str(inside / "s"), "x"),
        ("chmod", str(inside / "a"), None),
    ]


def test_a_watched_file_is_known_by_its_name_once_it_is_gone(ground: Ground, alone: Path) -> None:
    ground.watch.events()
    (alone.parent / "new").touch()
    ended(python("os.chdir(sys.argv[1]); os.replace('new', 'alone'); os.unlink('alone')", alone.parent))
    assert named(ground) == [("rename", str(alone.parent / "new"), str(alone)), ("unlink", str(alone), None)]


def test_the_root_of_a_process_is_seen_while_it_lives(ground: Ground) -> None:
    """Afterwards nobody can follow its paths: the operation is counted, not taken for one of another root."""
    jail = ground.root / "jail"
    jail.mkdir()
    ground.watch.events()
    process = python(_IN_JAIL, jail)
    assert named(ground) == [("mkdir", "/made", None)]
    ended(process)
    shutil.rmtree(jail / "made")
    ground.watch.events()
    before = unresolved(ground)
    ended(python(_IN_JAIL, jail))
    assert named(ground) == []
    assert unresolved(ground) > before


def test_the_rest_of_what_is_known(ground: Ground) -> None:
    ground.watch.events()
    ended(python("os.mkdir(sys.argv[1] + '/kept', 0o750)", ground.root))
    (event,) = ground.watch.events()
    status = (ground.root / "kept").stat()
    assert (event["inode"], event["mode"], event["file_type"]) == (status.st_ino, 0o750, "directory")
    assert event["device"]
    assert (event["result"], event["syscall"], event["comm"]) == (0, 83, "python3")
