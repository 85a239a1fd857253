"""The request to stop."""

import os
import signal
from types import FrameType


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
