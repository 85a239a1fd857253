"""Cases in which the backends show different things: each mark is its test, and a row of the docs."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Event, Watch

pytestmark = [pytest.mark.kernel, pytest.mark.vm]

Check = Callable[[str], None]

_CTYPES = "import ctypes, os; libc = ctypes.CDLL(None)\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("differences")


@pytest.fixture(scope="module")
def watch(root: Path, watching: Callable[..., Watch]) -> Watch:
    return watching(root)


def shown(event: Event) -> str:
    result = event["result"]
    if result is None:
        return f"{event['op']} = unknown"
    if result < 0:
        return f"{event['op']} = {errno.errorcode[-result]}"
    return f"{event['op']} = {'fd' if event['op'] in ('open', 'create') else result}"


@pytest.fixture
def check(request: pytest.FixtureRequest, root: Path, watch: Watch) -> Check:
    """Runs a Python script in the watched directory and holds what is captured of it to the test's mark."""
    mark = request.node.get_closest_marker("differs")
    assert mark is not None
    expected = mark.kwargs["lsm" if watch.capture.hooks else "tracepoint"]

    def run(script: str) -> None:
        watch.events()
        before = watch.capture.counters().uncovered
        subprocess.run(["/usr/bin/python3", "-ISc", script], cwd=root, check=True)
        events = [shown(event) for event in watch.events()]
        after = watch.capture.counters().uncovered
        assert events == [outcome for outcome in expected if not outcome.startswith("uncovered.")]
        for outcome in expected:
            if outcome.startswith("uncovered."):
                kind = outcome.removeprefix("uncovered.")
                assert after.get(kind, 0) > before.get(kind, 0)

    return run


@pytest.mark.differs(
    case="removing a directory that is not empty",
    lsm=("rmdir = ENOTEMPTY",),
    tracepoint=(),
    reason="a hook sees the attempt; the tracepoints name what was changed",
)
def test_a_failed_path_operation(root: Path, check: Check) -> None:
    (root / "full/of").mkdir(parents=True)
    check("import os\ntry: os.rmdir('full')\nexcept OSError: pass")


@pytest.mark.differs(
    case="reading a descriptor that is open for writing only",
    lsm=("open = fd",),
    tracepoint=("open = fd", "read = EBADF"),
    reason="the kernel refuses it before it asks a hook; sys_exit sees every end",
)
def test_a_failed_descriptor_operation(root: Path, check: Check) -> None:
    (root / "file").write_text("text")
    check("import os\nfd = os.open('file', os.O_WRONLY)\ntry: os.read(fd, 1)\nexcept OSError: pass")


@pytest.mark.differs(
    case="cloning where files cannot share their blocks (ext4, tmpfs)",
    lsm=("open = fd", "open = fd"),
    tracepoint=("open = fd", "open = fd", "read = ENOTSUP", "clone = ENOTSUP"),
    reason="here, too, the kernel refuses it before it asks a hook",
)
def test_a_clone_that_cannot_be(root: Path, check: Check) -> None:
    for name in ("source", "target"):
        (root / name).write_text("text")
    check(
        "import fcntl, os\nsource, target = os.open('source', os.O_RDONLY), os.open('target', os.O_WRONLY)\n"
        "try: fcntl.ioctl(target, 0x40049409, source)\nexcept OSError: pass"
    )


@pytest.mark.differs(
    case="opening a FIFO, interrupted by a signal",
    lsm=("open = EINTR",),
    tracepoint=(),
    reason="there is no descriptor by which sys_exit would know the file",
)
def test_an_open_that_a_signal_interrupts(root: Path, check: Check) -> None:
    os.mkfifo(root / "fifo")
    check(
        "import os, signal\n"
        "def late(*_): raise TimeoutError\n"
        "signal.signal(signal.SIGALRM, late); signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
        "try: os.open('fifo', os.O_WRONLY)\n"
        "except TimeoutError: pass"
    )


@pytest.mark.differs(
    case="renaming a hard link onto another of the same file, which changes nothing",
    lsm=("rename = 0",),
    tracepoint=("uncovered.unresolved",),
    reason="nothing is changed that would be named",
)
def test_a_rename_that_changes_nothing(root: Path, check: Check) -> None:
    (root / "one").touch()
    (root / "two").hardlink_to(root / "one")
    check("import os; os.rename('one', 'two')")


@pytest.mark.differs(
    case="executing a script",
    lsm=("exec of the script",),
    tracepoint=("exec of its interpreter",),
    reason="the script is closed by then; its open and read by the interpreter are reported on both",
)
def test_executing_a_script(request: pytest.FixtureRequest, root: Path, watch: Watch) -> None:
    script, shell = root / "script", root / "shell"
    script.write_text(f"#!{shell}\n")
    script.chmod(0o755)
    shell.write_bytes(Path("/bin/sh").read_bytes())
    shell.chmod(0o755)
    watch.events()
    subprocess.run([str(script)], check=True)
    named = {str(script): "exec of the script", str(shell): "exec of its interpreter"}
    (mark,) = request.node.iter_markers("differs")
    expected = mark.kwargs["lsm" if watch.capture.hooks else "tracepoint"]
    assert [named[event["path"]] for event in watch.events() if event["op"] == "exec"] == list(expected)


@pytest.mark.differs(
    case="making shared memory of a file writable",
    lsm=("open = fd", "mmap = 0", "mprotect = 0"),
    tracepoint=("open = fd", "mmap = 0"),
    reason="the call names memory, and what is mapped there cannot be looked up; the mapping is reported",
)
def test_memory_made_writable(root: Path, check: Check) -> None:
    (root / "mapped").write_bytes(b"x" * 4096)
    check(
        _CTYPES + "libc.mmap.restype = ctypes.c_void_p\n"
        "fd = os.open('mapped', os.O_RDWR); at = libc.mmap(None, 4096, 1, 1, fd, ctypes.c_long(0))\n"
        "assert libc.mprotect(ctypes.c_void_p(at), 4096, 3) == 0"
    )


@pytest.mark.differs(
    case="mounting and unmounting",
    lsm=("mount = 0", "unmount = 0"),
    tracepoint=(),
    reason="only what they change for paths is followed",
)
def test_mounts(root: Path, check: Check) -> None:
    (root / "mountpoint").mkdir()
    check(
        _CTYPES + "assert libc.mount(b'none', b'mountpoint', b'tmpfs', 0, None) == 0\n"
        "assert libc.umount2(b'mountpoint', 0) == 0"
    )


@pytest.mark.differs(
    case="giving a file to the kernel: swapon, acct, quotactl",
    lsm=("open = EINVAL", "uncovered.kernel"),
    tracepoint=("uncovered.kernel",),
    reason="what the kernel does to the file later belongs to no process on either",
)
def test_a_file_given_to_the_kernel(root: Path, check: Check) -> None:
    (root / "swap").write_bytes(b"\0" * 65536)
    check(_CTYPES + "assert libc.syscall(167, b'swap', 0) == -1")


@pytest.mark.differs(
    case="writing by AIO (io_submit)",
    lsm=("open = fd", "write = unknown"),
    tracepoint=("open = fd", "uncovered.aio"),
    reason="the call ends before its operations; beyond 8 of one call they are counted as `lost.overtaken`",
)
def test_aio(root: Path, check: Check) -> None:
    (root / "aio").touch()
    check(
        _CTYPES + "context = ctypes.c_ulong(0); assert libc.syscall(206, 4, ctypes.byref(context)) == 0\n"
        "fd = os.open('aio', os.O_WRONLY); data = ctypes.create_string_buffer(b'abc')\n"
        "class Request(ctypes.Structure):\n"
        "    _fields_ = [('data', ctypes.c_uint64), ('key', ctypes.c_uint32), ('flags', ctypes.c_uint32),\n"
        "        ('opcode', ctypes.c_uint16), ('priority', ctypes.c_int16), ('fd', ctypes.c_uint32),\n"
        "        ('at', ctypes.c_uint64), ('length', ctypes.c_uint64), ('offset', ctypes.c_int64),\n"
        "        ('spare', ctypes.c_uint64), ('more', ctypes.c_uint32), ('event', ctypes.c_uint32)]\n"
        "request = Request(opcode=1, fd=fd, at=ctypes.addressof(data), length=3)\n"
        "requests = (ctypes.c_void_p * 1)(ctypes.addressof(request))\n"
        "assert libc.syscall(209, context, 1, requests) == 1"
    )


@pytest.mark.differs(
    case="mapping a file by the oldest 32-bit mmap",
    lsm=("open = fd", "mmap = 0"),
    tracepoint=("open = fd", "uncovered.compat"),
    reason="it has its arguments in memory; uselib, which few kernels still have, is counted like it. Every"
    " other 32-bit call on files is decoded",
)
def test_the_oldest_32_bit_call(root: Path, check: Check) -> None:
    (root / "old").write_bytes(b"x" * 4096)
    # mov eax, 90; mov ebx, 0x10001000; int 0x80; ret, with rbx kept
    check(
        _CTYPES + "import struct; libc.mmap.restype = ctypes.c_void_p\n"
        "fd = os.open('old', os.O_RDONLY)\n"
        "at = libc.mmap(ctypes.c_void_p(1 << 28), 8192, 7, 0x32, -1, ctypes.c_long(0))\n"
        "assert at == 1 << 28\n"
        "code = b'\\x53\\xb8\\x5a\\x00\\x00\\x00\\xbb\\x00\\x10\\x00\\x10\\xcd\\x80\\x5b\\xc3'\n"
        "ctypes.memmove(at, code, len(code))\n"
        "ctypes.memmove(at + 4096, struct.pack('<6I', 0, 4096, 1, 2, fd, 0), 24)\n"
        "result = ctypes.CFUNCTYPE(ctypes.c_int)(at)(); assert not -4096 < result < 0, result"
    )


@pytest.mark.differs(
    case="a hard link on an overlay",
    lsm=("link = 0",),
    tracepoint=("uncovered.unresolved",),
    reason="overlayfs sets no change time of its own inode; what is done by the new name is reported on both",
)
def test_a_link_on_an_overlay(root: Path, check: Check) -> None:
    base = root / "overlaid"
    base.mkdir()
    # Layers on a tmpfs: an upper one cannot lie on an overlay, as a guest's / is.
    subprocess.run(["mount", "-t", "tmpfs", "fsmon-test", str(base)], check=True)
    try:
        for name in ("lower", "upper", "work", "merged"):
            (base / name).mkdir()
        layers = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        mounting = ["mount", "-t", "overlay", "overlay", "-o", layers, str(base / "merged")]
        subprocess.run(mounting, check=True)
        (base / "merged/one").touch()
        check("import os; os.link('overlaid/merged/one', 'overlaid/merged/two')")
    finally:
        subprocess.run(["umount", "-lR", str(base)], check=True)
