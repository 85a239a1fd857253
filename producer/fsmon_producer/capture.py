"""What the pipeline asks of a running capture: the loader's is the real one, tests bring their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Counters(Protocol):
    """Cumulative counts of the session, kept by the kernel."""

    @property
    def emitted(self) -> Mapping[str, int]:
        """Events put into the ring, by op."""

    @property
    def lost(self) -> Mapping[str, Mapping[str, int]]:
        """Events wanted and lost, by stage, then op."""

    @property
    def uncovered(self) -> Mapping[str, int]:
        """Calls that could not be looked into, by kind."""


class Capture(Protocol):
    """Programs attached to the kernel and the ring they write."""

    backend: str
    ring_fd: int
    ring_bytes: int

    def counters(self) -> Counters:
        """The counts of this moment."""

    def read_cursor(self) -> tuple[int, int]:
        """Ring position released last, and the seq of the record there."""

    def write_cursor(self, position: int, seq: int) -> None:
        """Remember what may be released; always before the ring's consumer position moves."""

    def sync_clock(self) -> None:
        """Tell the kernel the wall clock; about once a second."""

    def follow_names(self) -> list[Path]:
        """Watch again what was replaced under its name, and say which; about once a second."""

    def detach(self) -> None:
        """Stop capturing; ring and counters stay readable."""

    def close(self) -> None:
        """Let go of everything."""
