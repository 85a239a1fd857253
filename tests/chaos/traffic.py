"""Events that flow at a steady rate, whatever happens to the broker meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from generator import Fleet

_TICK_SECONDS = 0.05


class Traffic:
    """Sends from a thread of its own; the producer's queue holds what a broker does not take."""

    def __init__(self, fleet: Fleet, rate: int) -> None:
        self._fleet = fleet
        self._rate = rate
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._begun = time.monotonic()
        self._seconds = 0.0

    @property
    def rate(self) -> float:
        """Events a second, from the first to the last."""
        return sum(host.sent for host in self._fleet.hosts) / self._seconds

    def _run(self) -> None:
        try:
            hosts, sent = len(self._fleet.hosts), 0
            while not self._stop.is_set():
                due = int((time.monotonic() - self._begun) * self._rate / hosts)
                self._fleet.queue(due - sent)
                sent = due
                self._stop.wait(_TICK_SECONDS)
        except BaseException as error:
            self._failure = error

    def begin(self) -> None:
        self._begun = time.monotonic()
        self._thread.start()

    def end(self) -> None:
        """Stop, and wait until the broker has everything."""
        self._stop.set()
        self._thread.join()
        self._seconds = time.monotonic() - self._begun
        if self._failure is not None:
            raise self._failure
        self._fleet.flush()


@contextmanager
def flowing(fleet: Fleet, rate: int) -> Iterator[Traffic]:
    """``rate`` events a second of all hosts together while the block runs; acknowledged when it ends."""
    traffic = Traffic(fleet, rate)
    traffic.begin()
    try:
        yield traffic
    finally:
        traffic.end()
