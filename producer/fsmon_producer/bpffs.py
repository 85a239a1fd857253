"""A file system of pins that is ours alone: what is pinned in it outlives the process."""

import ctypes
import os
import stat
from pathlib import Path

from fsmon_schemas.errors import FsmonError

_MAGIC = 0xCAFE4A11  # BPF_FS_MAGIC, include/uapi/linux/magic.h
_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_libc = ctypes.CDLL(None, use_errno=True)


class NoBpffsError(FsmonError):
    """Nothing can be pinned there; capture ends with the process."""


def prepare(directory: Path) -> Path:
    """``directory`` on a bpffs, 0700 and ours: as it is, or mounted there. NoBpffsError says why not."""
    try:
        if not _is_bpffs(directory):
            if not _is_bpffs(directory.parent):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                _mount(directory)
            else:
                directory.mkdir(mode=0o700, exist_ok=True)
        about = directory.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise NoBpffsError(f"{directory} should be a directory of uid {os.geteuid()} with mode 0700")
    except OSError as error:
        raise NoBpffsError(f"{directory}: {error.strerror}") from error
    return directory


def release(directory: Path) -> None:
    """Unmount what ``prepare`` mounted, if nothing is pinned in it any more; else leave it."""
    if (
        directory.is_mount()
        and _is_bpffs(directory)
        and not any(path.is_dir() for path in directory.iterdir())
    ):
        _libc.umount2(os.fsencode(directory), 0)


def _is_bpffs(path: Path) -> bool:
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    return ctypes.c_long.from_buffer(buffer).value == _MAGIC


def _mount(directory: Path) -> None:
    if _libc.mount(b"bpf", os.fsencode(directory), b"bpf", _NOSUID_NODEV_NOEXEC, b"mode=0700") != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"cannot mount a bpffs: {os.strerror(error)}")
