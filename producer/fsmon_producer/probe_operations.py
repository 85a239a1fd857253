"""Does one of each operation asked for in a directory: ``python -m fsmon_producer.probe_operations DIR OP…``.

A process of its own, since what the producer itself does is never captured. Writes a JSON object of the
operations to null, or to why it could not be done there.
"""

import ctypes
import fcntl
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_FICLONE, _FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x40049409, 0x80086601, 0x40086602
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_MOVE, _CLONE_NEWNS = 4096, 16384, 1 << 18, 8192, 0x20000
_ATTRIBUTE = "trusted.fsmon"  # tmpfs has none of user.* before Linux 6.6


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _with(flags: int, do: Callable[[int], object], name: str = "file") -> None:
    descriptor = os.open(name, flags, 0o600)
    try:
        do(descriptor)
    finally:
        os.close(descriptor)


def _map(descriptor: int) -> None:
    mmap.mmap(descriptor, 1, mmap.MAP_SHARED, mmap.PROT_READ).close()


def _protect(descriptor: int) -> None:
    _libc.mmap.restype = ctypes.c_void_p
    at = _libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    _checked(_libc.mprotect(ctypes.c_void_p(at), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE))


def _clone(descriptor: int) -> None:
    _with(os.O_CREAT | os.O_WRONLY, lambda to: fcntl.ioctl(to, _FICLONE, descriptor), "clone")


def _set_flags(descriptor: int) -> None:
    flags = fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, b"\0" * 8)
    fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, flags)


def _bind_socket() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")


def _run_program() -> None:
    child = os.fork()
    if child == 0:
        try:
            os.execv("program", ["program"])  # noqa: S606 - the file is our own
        finally:
            os._exit(127)
    os.waitpid(child, 0)


def _mount(source: str, target: str, flags: int) -> None:
    _checked(_libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None))


def _bind_mount() -> None:
    """In a mount namespace of our own: nobody else sees it."""
    _checked(_libc.unshare(_CLONE_NEWNS))
    _mount("none", "/", _MS_REC | _MS_PRIVATE)
    _mount("source", "target", _MS_BIND)


# In an order in which each finds what it needs.
OPERATIONS: dict[str, Callable[[], object]] = {
    "create": lambda: _with(os.O_CREAT | os.O_EXCL | os.O_RDWR, lambda _: None, "new"),
    "open": lambda: _with(os.O_RDONLY, lambda _: None),
    "read": lambda: _with(os.O_RDONLY, lambda file: os.read(file, 1)),
    "write": lambda: _with(os.O_WRONLY, lambda file: os.write(file, b"x")),
    "fallocate": lambda: _with(os.O_WRONLY, lambda file: os.posix_fallocate(file, 0, 4096)),
    "truncate": lambda: os.truncate("file", 8192),
    "mmap": lambda: _with(os.O_RDONLY, _map),
    "mprotect": lambda: _with(os.O_RDWR, _protect),
    "clone": lambda: _with(os.O_RDONLY, _clone),
    "setflags": lambda: _with(os.O_RDONLY, _set_flags),
    "chmod": lambda: os.chmod("file", 0o640),  # noqa: PTH101 - the call is what is probed
    "chown": lambda: os.chown("file", 0, 0),
    "utimens": lambda: os.utime("file"),
    "setxattr": lambda: os.setxattr("file", _ATTRIBUTE, b"x"),
    "removexattr": lambda: os.removexattr("file", _ATTRIBUTE),
    "readdir": lambda: os.listdir("source"),  # noqa: PTH208
    "mkdir": lambda: os.mkdir("directory"),  # noqa: PTH102
    "rmdir": lambda: os.rmdir("removed"),  # noqa: PTH106
    "mknod": lambda: os.mkfifo("fifo"),
    "bind": _bind_socket,
    "symlink": lambda: os.symlink("file", "symlink"),  # noqa: PTH211
    "link": lambda: os.link("file", "link"),
    "rename": lambda: os.rename("created", "renamed"),  # noqa: PTH104
    "exchange": lambda: _checked(
        _libc.renameat2(_AT_FDCWD, b"renamed", _AT_FDCWD, b"other", _RENAME_EXCHANGE)
    ),
    "unlink": lambda: os.unlink("other"),  # noqa: PTH108
    "exec": _run_program,
    "mount": _bind_mount,
    "move_mount": lambda: _mount("target", "moved", _MS_MOVE),
    "unmount": lambda: _checked(_libc.umount2(b"moved", 0)),
}


def prepare(directory: Path) -> None:
    """What the operations work on."""
    for name in ("removed", "source", "target", "moved"):
        (directory / name).mkdir()
    for name in ("file", "other", "created", "renamed"):
        (directory / name).write_bytes(b"probe")
    program = directory / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o700)


def main() -> None:
    """Do them, and say how it went."""
    os.chdir(sys.argv[1])
    done: dict[str, str | None] = {}
    for op, do in OPERATIONS.items():
        if op in sys.argv[2:]:
            try:
                do()
            except OSError as error:
                done[op] = error.strerror
            else:
                done[op] = None
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
