"""The request to stop."""

import os
import signal
import time
from collections.abc import Collection
from types import FrameType
from typing import Protocol


class Request(Protocol):
    """Something that may ask us to stop."""

    @property
    def reason(self) -> str | None:
        """Why to stop; None while there is no need to."""


class Stop:
    """Asked to stop, and why. A second signal ends the process at once."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def listen(self) -> None:
        """Take SIGTERM, SIGINT and SIGHUP as the request."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        if self.reason is not None:
            # Straight to the descriptor: logging may be what was interrupted.
            os.write(2, b"stopped by a second signal: events still in the ring were not delivered\n")
            os._exit(128 + signum)
        self.reason = signal.Signals(signum).name


class Patience:
    """The request, heeded ``seconds`` later: what is left is to be delivered before."""

    def __init__(self, stop: Stop, seconds: float, kept_at: Collection[str]) -> None:
        """``kept_at``: reasons to stop at once, for everything is kept then."""
        self._stop = stop
        self._seconds = seconds
        self._kept_at = kept_at
        self._asked: float | None = None

    @property
    def reason(self) -> str | None:
        """Why to stop now."""
        reason = self._stop.reason
        if reason is None or reason in self._kept_at:
            return reason
        self._asked = self._asked or time.monotonic()
        return reason if time.monotonic() - self._asked >= self._seconds else None
