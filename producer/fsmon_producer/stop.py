"""The request to stop."""

import signal
from types import FrameType


class Stop:
    """Asked to stop, and why. A second signal of the same kind ends the process at once."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as the request."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        self.reason = signal.Signals(signum).name
        signal.signal(signum, signal.SIG_DFL)
