"""Who did it: the process as /proc shows it, and the container its cgroup names."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Ground, Watch

pytestmark = [pytest.mark.kernel, pytest.mark.vm_once]

ID = "0123456789abcdef" * 4
CREATES = ("create", "open")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, watching: Callable[..., Watch]) -> Ground:
    root = tmp_path_factory.mktemp("process")
    return Ground(root, watching(root))


@pytest.fixture(scope="module")
def cgroups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cgroup of the test's own in a cgroup v2 hierarchy; it goes with all that was made below it."""
    hierarchy = tmp_path_factory.mktemp("cgroup2")
    subprocess.run(["mount", "-t", "cgroup2", "fsmon-test", str(hierarchy)], check=True)
    root = hierarchy / f"fsmon-test-{os.getpid()}"
    root.mkdir()
    yield root
    for folder, _, _ in os.walk(root, topdown=False):
        Path(folder).rmdir()
    subprocess.run(["umount", str(hierarchy)], check=True)


@pytest.mark.parametrize(
    ("names", "container"),
    [
        ([f"docker-{ID}.scope"], ID),
        ([f"cri-containerd-{ID}.scope"], ID),
        ([f"crio-{ID}.scope"], ID),
        ([f"libpod-{ID}.scope"], ID),
        ([f"libpod-{ID}"], ID),
        ([ID], ID),
        ([f"docker-{ID}.scope", "init.scope"], ID),
        ([f"libpod-{ID}.scope", "container", "a", "b"], ID),
        (["f" * 64, f"docker-{ID}.scope"], ID),
        ([f"libpod-conmon-{ID}.scope"], None),
        ([f"docker-{ID[:-1]}.scope"], None),
        ([f"docker-{ID[:-1]}g.scope"], None),
        ([f"docker-{ID.upper()}.scope"], None),
        ([f"{ID}0"], None),
        (["n" * 250], None),
        (["user.slice"], None),
    ],
    ids=lambda value: "/".join(value).replace(ID, "ID") if isinstance(value, list) else "",
)
def test_container_id(ground: Ground, cgroups: Path, names: list[str], container: str | None) -> None:
    """A process moved into the cgroup and one born there; one moved out is in no container any more."""
    folder = cgroups
    for name in names:
        folder /= name
        folder.mkdir(exist_ok=True)
    ground.watch.events()
    script = 'echo $$ > "$1"; : > moved; (: > born); echo $$ > "$2"; : > left'
    subprocess.run(
        ["sh", "-ec", script, "sh", folder / "cgroup.procs", cgroups / "cgroup.procs"],
        cwd=ground.root,
        check=True,
    )
    found = {Path(event["path"]).name: event for event in ground.watch.events() if event["op"] in CREATES}
    assert {name: event["container_id"] for name, event in found.items()} == {
        "moved": container,
        "born": container,
        "left": None,
    }
    assert found["moved"]["cgroup_id"] == folder.stat().st_ino
    assert found["left"]["cgroup_id"] == cgroups.stat().st_ino


# A thread of another name, with an effective id of its own, does one thing; /proc says who did it.
_THREAD = """
import ctypes, json, os, sys, threading
if sys.argv[1] != "unset":
    open("/proc/self/loginuid", "w").write(sys.argv[1])
os.setresgid(1001, 1002, 1002)
os.setresuid(2001, 2002, 2002)
def work():
    ctypes.CDLL(None).prctl(15, b"a thread's name, cut", 0, 0, 0)
    os.close(os.open("made", os.O_CREAT | os.O_EXCL))
    me = f"/proc/self/task/{threading.get_native_id()}"
    told = dict(line.split(":", 1) for line in open(f"{me}/status").read().splitlines())
    told["start"] = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
    told["exe"] = os.readlink("/proc/self/exe")
    told["loginuid"] = open("/proc/self/loginuid").read()
    told["cgroup"] = open("/proc/self/cgroup").read()
    told["mnt"] = os.readlink("/proc/self/ns/mnt")
    print(json.dumps(told))
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("loginuid", ["unset", "3001"])
def test_the_thread_of_a_process_that_changed_its_ids(ground: Ground, loginuid: str) -> None:
    (ground.root / "made").unlink(missing_ok=True)
    ground.root.chmod(0o777)
    ground.watch.events()
    command = ["/usr/bin/python3", "-ISc", _THREAD, loginuid]
    told = json.loads(subprocess.run(command, cwd=ground.root, stdout=subprocess.PIPE, check=True).stdout)
    (event,) = [event for event in ground.watch.events() if event["op"] == "create"]
    assert event["tid"] == int(told["Pid"]) != event["pid"] == int(told["Tgid"])
    assert event["ppid"] == int(told["PPid"]) == os.getpid()
    assert (event["uid"], event["euid"], event["gid"]) == (2001, 2002, 1001)
    assert told["Uid"].split()[:2] == ["2001", "2002"]
    assert event["comm"] == told["Name"].strip() == "a thread's name"
    assert event["exe"] == told["exe"]
    assert event["process_start"] // 10_000_000 == int(told["start"])  # USER_HZ is 100
    assert event["loginuid"] == (None if loginuid == "unset" else int(loginuid))
    assert int(told["loginuid"]) == (0xFFFFFFFF if loginuid == "unset" else int(loginuid))
    assert f"mnt:[{event['mount_ns']}]" == told["mnt"]


def test_exe_after_exec_and_after_renames(ground: Ground) -> None:
    """It is walked once a thread and program; a rename of it, or above it, is noticed all the same."""
    programs = ground.root / "programs"
    programs.mkdir()
    for name in ("first", "second"):
        (programs / name).write_bytes(Path("/bin/dash").read_bytes())
        (programs / name).chmod(0o755)
    script = """
        cd "$1"; : > a; : > b
        mv programs/first programs/renamed; : > c
        mv programs elsewhere; : > d
        exec elsewhere/second -c ': > e'
    """
    subprocess.run([programs / "first", "-ec", script, "sh", ground.root], check=True)
    exes = {
        Path(event["path"]).name: event["exe"].removeprefix(f"{ground.root}/")
        for event in ground.watch.events()
        if event["op"] == "create" and event["comm"] in ("first", "second")
    }
    assert exes == {
        "a": "programs/first",
        "b": "programs/first",
        "c": "programs/renamed",
        "d": "elsewhere/renamed",
        "e": "elsewhere/second",
    }
