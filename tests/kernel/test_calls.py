"""Operations that do not come and go as one 64-bit system call."""

import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Event, Programs, Watch

pytestmark = [pytest.mark.kernel, pytest.mark.vm]

COUNT = 23


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calls")


@pytest.fixture(scope="module")
def watch(root: Path, watching: Callable[..., Watch]) -> Watch:
    return watching(root)


def lines_of(*command: object, cwd: Path | None = None) -> list[list[str]]:
    """What the driver says must be captured."""
    argv = list(map(str, command))
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def named(event: Event) -> list[str]:
    return [event["op"], event["path"], event["target_path"] or "-"]


@pytest.mark.differs(
    case="requests of io_uring",
    lsm=("read = bytes", "write = bytes", "open = fd, or unknown", "others = as they end"),
    tracepoint=("uncovered.io_uring",),
    reason="they are no system calls. `lsm` counts reads and writes that ask for no completion"
    " (IOSQE_CQE_SKIP_SUCCESS) as `uncovered.io_uring`",
)
@pytest.mark.parametrize("way", ["inline", "async", "sqpoll", "linked"])
def test_io_uring(root: Path, watch: Watch, programs: Programs, way: str) -> None:
    """Exactly one event a request, with its result: only of an open that no worker did may there be none."""
    before = watch.capture.counters()
    folder = root / way
    folder.mkdir()
    watch.events()
    # From within the folder: the look-up from a guest's / on, an overlay, is left to a worker.
    relative = lines_of(programs.ring, way, ".", COUNT, cwd=folder)
    lines = [[column.replace("./", f"{folder}/") for column in line] for line in relative]
    events, after = watch.events(), watch.capture.counters()
    if not watch.capture.hooks:
        assert events == []
        assert after.uncovered["io_uring"] > before.uncovered.get("io_uring", 0)
        return
    assert after.lost == before.lost
    assert Counter(tuple(named(event)) for event in events) == Counter(tuple(line[:3]) for line in lines)
    assert {event["syscall"] for event in events} == {None}
    known = [event for event in events if event["result"] is not None]
    expected = Counter(map(tuple, lines))
    assert not Counter((*named(event), str(event["result"])) for event in known) - expected
    unknown = {event["op"] for event in events if event["result"] is None}
    assert unknown <= (set() if way == "async" else {"open"})


def test_32_bit_calls(root: Path, watch: Watch, programs: Programs) -> None:
    watch.events()
    lines = lines_of(programs.compat, root, COUNT)
    events = watch.events()
    captured = [(*named(event), str(event["result"]), str(event["syscall"])) for event in events]
    assert Counter(captured) == Counter(map(tuple, lines))


@pytest.mark.parametrize(
    ("way", "result"), [("restart", 5), ("stop", 5), ("eintr", -4), ("kill", -4), ("core", -4)]
)
def test_a_call_that_a_signal_interrupts(
    root: Path, watch: Watch, programs: Programs, way: str, result: int
) -> None:
    """One event, whether the call is done again or not."""
    watch.events()
    ((pid,),) = lines_of(programs.interrupted, way, root)
    events = [event for event in watch.events() if event["op"] == "write"]
    assert [(event["pid"], event["path"], event["result"]) for event in events] == [
        (int(pid), str(root / "file"), result)
    ]


def test_exec_from_a_thread(root: Path, watch: Watch, programs: Programs) -> None:
    """The thread takes the process's place, its id with it: the note is of the task, not of the id."""
    program = root / "threaded"
    shutil.copy(programs.noop, program)
    watch.events()
    script = "import os, sys, threading; threading.Thread(target=os.execv, args=(sys.argv[1], ['x'])).start()"
    with subprocess.Popen(["/usr/bin/python3", "-ISc", script, program]) as process:
        assert process.wait(timeout=60) == 0
    (event,) = (event for event in watch.events() if event["op"] == "exec")
    assert (event["path"], event["result"], event["comm"]) == (str(program), 0, "threaded")
    assert (event["pid"], event["tid"]) == (process.pid, process.pid)


def test_the_file_of_a_kernel_module(root: Path, watch: Watch) -> None:
    """What it is asked to load is none; a kernel without modules refuses before it reads."""
    file = root / "module"
    file.write_bytes(b"x" * 4096)
    watch.events()
    load = "import ctypes, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY)"
    load += "; assert ctypes.CDLL(None).syscall(313, fd, b'', 0) == -1"
    subprocess.run(["/usr/bin/python3", "-ISc", load, file], check=True)
    opened, *read = ((*named(event), event["syscall"], event["result"] < 0) for event in watch.events())
    assert opened[:2] == ("open", str(file))
    assert read == [("read", str(file), "-", 313, True)]


def test_deduplication_is_counted(root: Path, watch: Watch) -> None:
    """The one file is compared with any number of others, most of them unchanged by it."""
    file = root / "equal"
    file.write_bytes(b"x" * 8192)
    watch.events()
    before = watch.capture.counters().uncovered.get("dedupe", 0)
    # include/uapi/linux/fs.h: offset, length, how many others; descriptor, offset, done, status
    script = "import fcntl, os, struct, sys; fd = os.open(sys.argv[1], os.O_RDWR)"
    script += "; request = bytearray(struct.pack('=QQHHI qQQiI', 0, 4096, 1, 0, 0, fd, 4096, 0, 0, 0))"
    script += "\ntry: fcntl.ioctl(fd, 0xC0189436, request)\nexcept OSError: pass"
    subprocess.run(["/usr/bin/python3", "-ISc", script, file], check=True)
    assert [named(event) for event in watch.events()] == [["open", str(file), "-"]]
    assert watch.capture.counters().uncovered.get("dedupe", 0) > before


def test_access_control_lists(root: Path, watch: Watch) -> None:
    """Since 6.2 they have hooks of their own; they are attributes all the same."""
    file = root / "listed"
    file.touch()
    # include/uapi/linux/posix_acl_xattr.h: owner, user 1, group, mask, others
    entries = ((1, 6, -1), (2, 4, 1), (4, 4, -1), (16, 4, -1), (32, 4, -1))
    name = "system.posix_acl_access"
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    watch.events()
    script = f"import os, sys; file, name = sys.argv[1], '{name}'; os.setxattr(file, name, {value!r})"
    script += "; os.removexattr(file, name)"
    subprocess.run(["/usr/bin/python3", "-ISc", script, file], check=True)
    events = [(*named(event), event["xattr_name"], event["result"]) for event in watch.events()]
    assert events == [(op, str(file), "-", name, 0) for op in ("setxattr", "removexattr")]
