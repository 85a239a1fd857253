"""The marker call, posix_fadvise by our own process: the programs see it and answer in maps.

So user space learns how the kernel names a file (stat's st_dev is another one on overlayfs and btrfs). With
backend ``resolve`` it learns whether a file is watched, too, and hands the programs records for the ring.
"""

import contextlib
import ctypes
import os
from typing import Any, NamedTuple

from fsmon_producer.settings import Setting, Settings

_NO_FILE = -1  # as descriptor: send the answer that stands in the map


class Inode(NamedTuple):
    """A file as the kernel names it (struct inode_key)."""

    ino: int
    dev: int
    generation: int

    def __str__(self) -> str:
        """``major:minor:inode``."""
        return f"{self.dev >> 20}:{self.dev & 0xFFFFF}:{self.ino}"


class Marker:
    """Asks the attached programs; used by the thread that owns the capture."""

    def __init__(self, bpf: Any, settings: Settings) -> None:
        self._bpf = bpf
        self._named = bpf[b"marker"]
        self._settings = settings

    def name(self, fd: int) -> Inode | None:
        """The file behind the descriptor; None if no program has seen the call."""
        self._named[0] = self._named.Leaf()
        self._call(fd)
        key = self._named[0]
        return Inode(key.ino, key.dev, key.generation) if key.ino else None

    def is_watched(self, fd: int) -> bool:
        """The programs' own verdict of the file behind the descriptor; backend ``resolve`` only."""
        verdict = self._bpf[b"marked"]
        verdict[0] = ctypes.c_uint32(0)
        self._call(fd)
        return bool(verdict[0].value)

    def send(self, operation: int, record: bytes) -> None:
        """Put a record into the ring, or have it counted as lost there; backend ``resolve`` only."""
        answers = self._bpf[b"answers"]
        answer = answers.Leaf()
        answer.op, answer.len = operation, len(record)
        ctypes.memmove(ctypes.addressof(answer) + type(answer).bytes.offset, record, len(record))
        answers[0] = answer
        self._call(_NO_FILE)

    def _call(self, fd: int) -> None:
        self._settings.set(Setting.MARKER_PID, os.getpid())
        with contextlib.suppress(OSError):  # EBADF, as O_PATH descriptors give: it was seen all the same
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_NORMAL)
