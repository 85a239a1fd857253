"""Waiting for what is away: the same call again and again, less and less often."""

import logging
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from fsmon_schemas import RetryableError

_log = logging.getLogger(__name__)
T = TypeVar("T")

_WAIT_SECONDS = (0.2, 30.0)  # first and longest wait between tries


class StoppedError(Exception):
    """The worker is to end while something was being waited for."""


class Patience:
    """Retries until ``stop`` is set; ``on_failure`` hears of every failed try."""

    def __init__(self, stop: threading.Event, on_failure: Callable[[RetryableError], None]) -> None:
        self._stop = stop
        self._on_failure = on_failure

    def wait_for(self, what: str, action: Callable[[], T]) -> T:
        """The result of ``action`` once it succeeds; the log says once that it waits, and when that is over.

        StoppedError when ``stop`` is set meanwhile; what is not retryable passes through.
        """
        wait, waiting = _WAIT_SECONDS[0], False
        while True:
            try:
                result = action()
            except RetryableError as error:
                self._on_failure(error)
                if not waiting:
                    _log.warning("waiting for %s: %s; nothing is lost, Kafka keeps it meanwhile", what, error)
                    waiting = True
                # Jitter: a hundred workers must not come back in step.
                if self._stop.wait(wait * random.uniform(0.5, 1.5)):  # noqa: S311 - no secret
                    raise StoppedError from error
                wait = min(wait * 2, _WAIT_SECONDS[1])
            else:
                if waiting:
                    _log.info("%s is back; going on", what)
                return result
