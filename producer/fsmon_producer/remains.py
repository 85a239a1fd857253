"""What a session that does not go on has left: a ring to be read to its end, and its counters."""

import ctypes
from pathlib import Path

from fsmon_producer.counters import Counters, counted
from fsmon_producer.pins import Pinned


class Remains:
    """Its programs are detached from construction on. As the pipeline asks of a capture."""

    def __init__(self, pinned: Pinned) -> None:
        self.pinned = pinned
        pinned.unpin_links()
        self._objects = pinned.objects()
        self.backend = pinned.identity.backend
        self.ring_fd = self._objects[b"ring"].map_fd
        self.ring_bytes = pinned.identity.ring_bytes

    def counters(self) -> Counters:
        """As the programs left them, named by what their version called them."""
        identity = self.pinned.identity
        return counted(
            self._objects,
            identity.operations,
            identity.stages,
            identity.uncovered,
            identity.skipped_before,
        )

    def read_cursor(self) -> tuple[int, int]:
        """Ring position released last, and the seq of the record there."""
        cursor = self._objects[b"cursors"][0]
        return cursor.position, cursor.seq

    def write_cursor(self, position: int, seq: int) -> None:
        """Remember what may be released."""
        cursors = self._objects[b"cursors"]
        cursors[ctypes.c_int(0)] = cursors.Leaf(position, seq)

    def sync_clock(self) -> None:
        """Nothing asks for the time any more."""

    def follow_names(self) -> list[Path]:
        """Nothing is watched any more."""
        return []

    def detach(self) -> None:
        """It is."""

    def close(self) -> None:
        """Let go; what is pinned stays."""
        self._objects.cleanup()
