"""What the pipeline asks of a running capture: the loader's is the real one, tests bring their own."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from fsmon_producer.watches import Watched


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


class Captured(Protocol):
    """A ring and its counters; the programs that write it may be attached or not."""

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


class Capture(Captured, Protocol):
    """Programs attached to the kernel, and what they watch."""

    def watch(self, path: Path, *, exclude: bool = False) -> None:
        """Add a rule; in force on return, ConfigError if the path is not there."""

    def unwatch(self, path: Path, *, exclude: bool = False) -> None:
        """Take a rule back; ConfigError if there is none."""

    def rewatch(self, include: Iterable[Path], exclude: Iterable[Path]) -> tuple[list[Path], list[Path]]:
        """Have these rules alone; returns the names added and removed. ConfigError changes nothing."""

    def watched(self) -> list[Watched]:
        """The rules in force."""
