"""The polling thread: the group's member, what it was given, and the flow of each partition.

It owns the Kafka client and never waits for PostgreSQL, so slow flushes cost no rebalance. A partition
flows only once the flushing thread has claimed it: messages go to it through the inbox, and its
orders come back through a queue.
"""

import queue
import threading
import time
from dataclasses import dataclass

from fsmon_consumer.config import ConsumerConfig
from fsmon_consumer.inbox import Assigned, Inbox, Revoked, Truncated
from fsmon_consumer.place import Place
from fsmon_consumer.source import Source

_POLL_ROWS = 10_000
_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 1.0  # a full inbox is waited for that long before partitions are paused


@dataclass(frozen=True)
class Start:
    """Order: let this partition flow from ``offset``, if it is still given to us as this ``generation``.

    ``leader_epoch`` is that of the message before it, as far as known.
    """

    place: Place
    generation: int
    offset: int
    leader_epoch: int | None


@dataclass(frozen=True)
class Stored:
    """News: the database holds everything below these offsets."""

    next_offsets: dict[Place, int]


@dataclass(frozen=True)
class Reclaim:
    """Order: stop this partition and hand it out again so many ``seconds`` later."""

    place: Place
    seconds: float


Orders = queue.SimpleQueue[Start | Stored | Reclaim]


class Poller:
    """For one thread but for ``generation_of``, which the flushing thread may ask."""

    def __init__(self, inbox: Inbox, orders: Orders) -> None:
        self._inbox = inbox
        self._orders = orders
        self._generations: dict[Place, int] = {}  # how often each partition was given to us
        self._assigned: dict[Place, int] = {}  # what we have now, and its generation
        self._flowing: set[Place] = set()
        self._reclaims: dict[Place, float] = {}  # when to hand it out again
        self._database_id = ""
        self._source: Source

    def join(self, config: ConsumerConfig, protocol: str, database_id: str) -> None:
        """Join the group; ``database_id`` goes with what is committed to Kafka."""
        self._database_id = database_id
        self._source = Source(
            config,
            protocol,
            on_assigned=self._on_assigned,
            on_revoked=self._on_revoked,
            on_truncated=self._on_truncated,
        )

    def generation_of(self, place: Place) -> int | None:
        """Which assignment of the partition holds now; None where it is not ours."""
        return self._assigned.get(place)

    def poll_until(self, stop: threading.Event) -> None:
        """Fetch messages and carry out orders; raises what the Source does."""
        paused: set[Place] = set()
        while not stop.is_set():
            self._carry_out_orders()
            self._hand_out_again()
            if self._inbox.has_room(0 if paused else _PATIENCE_SECONDS):
                if paused:
                    self._source.resume(paused & self._flowing)
                    paused = set()
            elif not paused:
                paused = set(self._flowing)
                self._source.pause(paused)
            pieces = self._source.poll(_POLL_ROWS, _POLL_SECONDS)
            for place, piece in pieces.items():
                piece.generation = self._assigned.get(place, 0)
            # What was fetched before a partition was taken away, or given anew, counts for nothing.
            self._inbox.put([piece for place, piece in pieces.items() if place in self._flowing])
            self._source.check()

    def leave(self) -> None:
        """Tell Kafka of what was stored last, and leave the group."""
        self._carry_out_orders()
        self._source.close()

    def _on_assigned(self, places: list[Place]) -> None:
        for place in places:
            self._generations[place] = self._generations.get(place, 0) + 1
            self._assigned[place] = self._generations[place]
            self._flowing.discard(place)
            self._inbox.tell(Assigned(place, self._generations[place]))

    def _on_revoked(self, places: list[Place]) -> None:
        for place in places:
            self._assigned.pop(place, None)
            self._flowing.discard(place)
            self._inbox.tell(Revoked(place))

    def _on_truncated(self, place: Place, why: str) -> None:
        self._flowing.discard(place)
        self._inbox.tell(Truncated(place, why))

    def _hand_out_again(self) -> None:
        now = time.monotonic()
        for place in [place for place, due in self._reclaims.items() if due <= now]:
            del self._reclaims[place]
            if place in self._assigned:
                self._on_assigned([place])

    def _carry_out_orders(self) -> None:
        stored: dict[Place, int] = {}
        while True:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                break
            match order:
                case Start(place, generation, offset, leader_epoch):
                    if self._assigned.get(place) == generation:
                        self._source.start_at(place, offset, leader_epoch)
                        self._flowing.add(place)
                case Stored(next_offsets):
                    stored |= next_offsets
                case Reclaim(place, seconds):
                    if place in self._assigned:
                        self._flowing.discard(place)
                        self._source.pause([place])
                        self._reclaims[place] = time.monotonic() + seconds
        ours = {place: offset for place, offset in stored.items() if place in self._assigned}
        if ours:
            self._source.commit(ours, self._database_id)
