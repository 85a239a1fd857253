"""What user space tells the running programs: the time, what is wanted, whom to heed, who they are."""

import ctypes
from enum import IntEnum
from typing import Any

_MORE_THAN_THE_KERNEL_ADDS = 1 << 32


WAITING = 1 << 63  # of GENERATION: in turn.h


class Setting(IntEnum):
    """``enum setting`` in maps.h."""

    WALL_OFFSET = 0
    EPOCH = 1
    OPS = 2
    MARKER_PID = 3
    GENERATION = 4


class Settings:
    """The map of that name."""

    def __init__(self, bpf: Any) -> None:
        self._table = bpf[b"settings"]

    def set(self, setting: Setting, value: int) -> None:
        """Write one; the programs see it at their next look."""
        self._table[ctypes.c_int(setting)] = ctypes.c_uint64(value)

    def get(self, setting: Setting) -> int:
        """What was written last."""
        return int(self._table[ctypes.c_int(setting)].value)

    def void_verdicts(self) -> None:
        """Make the programs look up anew what is watched.

        The kernel counts the same number up meanwhile, so it is moved far beyond what it can have added.
        """
        self.set(Setting.EPOCH, self._table[ctypes.c_int(Setting.EPOCH)].value + _MORE_THAN_THE_KERNEL_ADDS)
