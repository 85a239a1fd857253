"""Topics that are not there: said once, and once more when they appear.

The group's member cannot be asked: with the consumer protocol (KIP-848) a subscription to a topic that
does not exist is silent.
"""

import logging
import time
from collections.abc import Callable, Iterable

from fsmon_schemas import RetryableError

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 5.0


class AbsentTopics:
    """For the flushing thread; ``absent`` tells which of some topics Kafka has not."""

    def __init__(self, topics: Iterable[str], absent: Callable[[Iterable[str]], set[str]]) -> None:
        self._topics = frozenset(topics)
        self._ask = absent
        self._absent: set[str] = set()
        self._due = 0.0

    def look(self) -> None:
        """Ask, if it is time to; Kafka being away is for others to say."""
        if time.monotonic() < self._due:
            return
        try:
            absent = self._ask(self._topics)
        except RetryableError:
            return
        finally:
            self._due = time.monotonic() + _PAUSE_SECONDS
        for topic in sorted(absent - self._absent):
            _log.warning(
                "Kafka has no topic %s, or does not show it to us; waiting for it: "
                "fsmon-producer topics create makes it (check --topic and --reports-topic)",
                topic,
            )
        for topic in sorted(self._absent - absent):
            _log.info("the topic %s is there now", topic)
        self._absent = absent
