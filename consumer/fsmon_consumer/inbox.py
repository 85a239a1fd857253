"""What stands between the polling thread and the flushing thread: bounded, and never blocking the poller.

Besides messages it carries the news that the flusher has to act on, in the order they came:
partitions given to this worker, taken from it, and changed beneath it.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass

from fsmon_consumer.batch import LogSlice
from fsmon_consumer.place import Place


@dataclass(frozen=True)
class Assigned:
    """The group gave us this partition; messages of it carry this generation."""

    place: Place
    generation: int


@dataclass(frozen=True)
class Revoked:
    """The group took this partition from us."""

    place: Place


@dataclass(frozen=True)
class Truncated:
    """The broker no longer has the messages that we go on behind, but others at their offsets (KIP-320)."""

    place: Place
    why: str


News = Assigned | Revoked | Truncated


class Inbox:
    """Messages by partition in log order, at most about ``capacity`` of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._slices: dict[Place, LogSlice] = {}
        self._rows = 0
        self._news: deque[News] = deque()
        self._closed = False

    def put(self, slices: list[LogSlice]) -> None:
        """Add messages; never blocks (the poller asks ``has_room`` before it fetches more)."""
        with self._changed:
            for piece in slices:
                held = self._slices.setdefault(piece.place, piece)
                if held is not piece:
                    held.keys += piece.keys
                    held.values += piece.values
                    held.offsets += piece.offsets
                    held.leader_epoch = piece.leader_epoch
                self._rows += len(piece)
            self._changed.notify_all()

    def tell(self, news: News) -> None:
        """Pass on news; messages of the partition that are still here are dropped."""
        with self._changed:
            dropped = self._slices.pop(news.place, None)
            self._rows -= len(dropped) if dropped else 0
            self._news.append(news)
            self._changed.notify_all()

    def has_room(self, timeout: float) -> bool:
        """Whether more may be put, waiting up to ``timeout`` seconds for it."""
        with self._changed:
            return self._changed.wait_for(lambda: self._rows < self._capacity or self._closed, timeout)

    def next_news(self) -> News | None:
        """The oldest news not yet taken, without waiting."""
        with self._changed:
            return self._news.popleft() if self._news else None

    def take(self, rows: int, linger: float, timeout: float) -> list[LogSlice]:
        """Up to about ``rows`` messages; empty after ``timeout`` seconds without any, or with news.

        Waits ``linger`` seconds from the first message for more to come, so that a trickle does
        not become a transaction a message.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._news or self._closed, timeout)
            until = time.monotonic() + linger
            while self._rows and self._rows < rows and not self._news and not self._closed:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if self._news or self._closed:
                return []
            taken: list[LogSlice] = []
            for place in list(self._slices):
                if rows <= 0:
                    break
                held = self._slices.pop(place)
                taken.append(held.cut(0, rows) if len(held) > rows else held)
                if len(held) > rows:
                    self._slices[place] = held.cut(rows, len(held))  # last in turn next time
                rows -= len(taken[-1])
                self._rows -= len(taken[-1])
            self._changed.notify_all()
            return taken

    def close(self) -> None:
        """Wake everybody up; nothing is taken any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
