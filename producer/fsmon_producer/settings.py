"""What user space tells the running programs: wall time, epoch, wanted operations, whose marker to heed."""

import ctypes
from enum import IntEnum
from typing import Any

_MORE_THAN_THE_KERNEL_ADDS = 1 << 32


class Setting(IntEnum):
    """``enum setting`` in maps.h."""

    WALL_OFFSET = 0
    EPOCH = 1
    OPS = 2
    MARKER_PID = 3


class Settings:
    """The map of that name."""

    def __init__(self, bpf: Any) -> None:
        self._table = bpf[b"settings"]

    def set(self, setting: Setting, value: int) -> None:
        """Write one; the programs see it at their next look."""
        self._table[ctypes.c_int(setting)] = ctypes.c_uint64(value)

    def void_verdicts(self) -> None:
        """Make the programs look up anew what is watched.

        The kernel counts the same number up meanwhile, so it is moved far beyond what it can have added.
        """
        self.set(Setting.EPOCH, self._table[ctypes.c_int(Setting.EPOCH)].value + _MORE_THAN_THE_KERNEL_ADDS)
