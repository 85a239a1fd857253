"""`fsmon-consumer run`: one group member that moves messages into one database. The composition root.

Two threads. The polling thread owns the Kafka client and never waits for PostgreSQL, so slow
flushes cost no rebalance. The flushing thread owns the database connection: it claims partitions,
decodes and stores. Between them stand the inbox (bounded) and a queue of orders for the poller.
"""

import logging
import os
import queue
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from fsmon_schemas import RetryableError

from fsmon_consumer import claims as ownership
from fsmon_consumer.batch import Batch, Decoder, LogSlice, refuse
from fsmon_consumer.claims import Claim
from fsmon_consumer.cluster import Cluster
from fsmon_consumer.config import ConsumerConfig
from fsmon_consumer.flush import Flushed, flush
from fsmon_consumer.inbox import Assigned, Inbox, Revoked
from fsmon_consumer.migrate import require_current
from fsmon_consumer.partitions import PartitionPlan
from fsmon_consumer.registry import WriterSchemas
from fsmon_consumer.source import Source
from fsmon_consumer.store import Database, DatabaseAwayError, NoPartitionError, RowRefusedError

_log = logging.getLogger(__name__)
Place = tuple[str, int]
T = TypeVar("T")

_POLL_ROWS = 10_000
_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 1.0  # a full inbox is waited for that long before partitions are paused
_BACKOFF_SECONDS = (0.2, 30.0)  # first and longest wait between tries
_RECLAIM_SECONDS = 5.0  # after another worker took a partition that the group still gives to us


class _StoppedError(Exception):
    """The worker is to end while something was being waited for."""


@dataclass(frozen=True)
class _Start:
    """Order to the poller: let this partition flow from ``offset``."""

    place: Place
    generation: int
    offset: int


@dataclass(frozen=True)
class _Stored:
    """News for the poller: the database holds everything below these offsets."""

    next_offsets: dict[Place, int]


@dataclass(frozen=True)
class _Reclaim:
    """Order to the poller: stop this partition and hand it out again later."""

    place: Place


class Worker:
    """Runs until ``stop``; ``run`` raises what no waiting can mend."""

    def __init__(self, config: ConsumerConfig) -> None:
        self._config = config
        self._stop = threading.Event()
        self._orders: queue.SimpleQueue[_Start | _Stored | _Reclaim] = queue.SimpleQueue()
        self._inbox = Inbox(capacity=2 * config.batch_rows)
        self._generations: dict[Place, int] = {}
        self._assigned: dict[Place, int] = {}  # by the polling thread; the flusher only reads it
        self._flowing: set[Place] = set()
        self._failure: BaseException | None = None
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._cluster = Cluster(config)
        self._database = Database(config.dsn, role="run")
        schemas = WriterSchemas(config.registry)
        self._decoder = Decoder(config.reports_topic, schemas.find)
        self._plan = PartitionPlan(ahead=config.partitions_ahead, retention=config.retention)
        self._claims: dict[Place, Claim] = {}
        self._database_id = ""
        self._connected = False
        self._source: Source

    def stop(self) -> None:
        """Ask the worker to end; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Consume until ``stop``. The flush at hand is finished; what was not flushed is read again."""
        try:
            self._patiently("PostgreSQL", self._open_database)
            cluster_id = self._patiently("Kafka", self._cluster.cluster_id)
            self._database_id = self._patiently("PostgreSQL", lambda: self._adopt(cluster_id))
            protocol = self._patiently("Kafka", self._cluster.group_protocol)
        except _StoppedError:
            return
        self._source = Source(
            self._config, protocol, on_assigned=self._on_assigned, on_revoked=self._on_revoked
        )
        flusher = threading.Thread(target=self._flush_forever, name="flusher")
        flusher.start()
        _log.info(
            "consuming %s and %s as %s of group %s",
            self._config.topic, self._config.reports_topic, self._name, self._config.group,
        )  # fmt: skip
        try:
            self._poll_forever()
        finally:
            self._stop.set()
            self._inbox.close()
            flusher.join()
            self._carry_out_orders()
            self._source.close()
            self._database.close()
        if self._failure is not None:
            raise self._failure

    # --- the polling thread ---

    def _poll_forever(self) -> None:
        paused: set[Place] = set()
        again: dict[Place, float] = {}
        while not self._stop.is_set():
            self._carry_out_orders(again)
            now = time.monotonic()
            for place in [place for place, due in again.items() if due <= now]:
                del again[place]
                if place in self._assigned:
                    self._on_assigned([place])
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

    def _carry_out_orders(self, again: dict[Place, float] | None = None) -> None:
        stored: dict[Place, int] = {}
        while True:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                break
            match order:
                case _Start(place, generation, offset):
                    if self._assigned.get(place) == generation:
                        self._source.start_at(place, offset)
                        self._flowing.add(place)
                case _Stored(next_offsets):
                    stored |= next_offsets
                case _Reclaim(place):
                    if place in self._flowing and again is not None:
                        self._flowing.discard(place)
                        self._source.pause([place])
                        again[place] = time.monotonic() + _RECLAIM_SECONDS
        ours = {place: offset for place, offset in stored.items() if place in self._assigned}
        if ours:
            self._source.commit(ours, self._database_id)

    # --- the flushing thread ---

    def _flush_forever(self) -> None:
        try:
            while not self._stop.is_set():
                self._patiently("PostgreSQL or Kafka", self._settle_claims)
                slices = self._inbox.take(
                    self._config.batch_rows, self._config.linger.total_seconds(), timeout=1.0
                )
                if slices:
                    self._store(slices)
                else:
                    self._patiently("PostgreSQL", self._maintain)
        except _StoppedError:
            pass
        except BaseException as error:
            self._failure = error
        finally:
            self._stop.set()
            self._inbox.close()

    def _open_database(self) -> None:
        self._database.connect()
        require_current(self._database)
        self._connected = True

    def _adopt(self, cluster_id: str) -> str:
        self._reconnect()
        return ownership.adopt(self._database, group=self._config.group, cluster_id=cluster_id)

    def _maintain(self) -> None:
        self._reconnect()
        self._plan.maintain(self._database, datetime.now(UTC))

    def _settle_claims(self) -> None:
        """Act on what the poller was told of partitions; a failed claim is tried again."""
        self._reconnect()
        while (news := self._inbox.next_news()) is not None:
            match news:
                case Revoked(place):
                    self._claims.pop(place, None)
                case Assigned(place, generation):
                    if self._assigned.get(place) != generation:
                        continue  # taken away meanwhile
                    try:
                        self._claim(place)
                    except RetryableError:
                        self._inbox.tell(news)
                        raise
                    self._orders.put(_Start(place, generation, self._claims[place].next_offset))

    def _claim(self, place: Place) -> None:
        other = self._cluster.committed_by(place)
        if other is not None and other != self._database_id:
            raise ownership.foreign_group(self._config.group, place, other)
        log = self._cluster.log_bounds(place)
        self._claims[place] = ownership.claim(
            self._database, place, log, worker=self._name, takeover_after=self._config.takeover_after
        )
        _log.info("%s[%d]: goes on at offset %d", *place, self._claims[place].next_offset)

    def _reconnect(self) -> None:
        """After a lost connection, claim anew what we still have: a commit may have been in doubt."""
        if self._connected:
            return
        self._open_database()
        for place in list(self._claims):
            if place in self._assigned:
                self._claim(place)
            else:
                del self._claims[place]

    def _store(self, slices: list[LogSlice]) -> None:
        """Decode and flush; a row that PostgreSQL refuses is narrowed down to by halves."""
        batch = self._patiently("the schema registry", lambda: self._decode(slices))
        try:
            flushed = self._patiently("PostgreSQL", lambda: self._flush(batch))
        except RowRefusedError as error:
            if len(batch) > 1:
                for half in _halves(batch.slices):
                    self._store(half)
                return
            _log.error(
                "PostgreSQL refuses %s[%d] offset %d", *batch.slices[0].place, batch.slices[0].offsets[0]
            )
            refused = refuse(batch, str(error))
            flushed = self._patiently("PostgreSQL", lambda: self._flush(refused))
        for place, tally in flushed.tallies.items():
            _log.debug("%s[%d]: %s", *place, tally)
            if tally.dead:
                _log.warning(
                    "%s[%d]: %d messages could not be stored and went to dead_letters", *place, tally.dead
                )
        for place in flushed.fenced:
            self._claims.pop(place, None)
            self._orders.put(_Reclaim(place))
        if flushed.next_offsets:
            self._orders.put(_Stored(flushed.next_offsets))

    def _decode(self, slices: list[LogSlice]) -> Batch:
        return self._decoder.decode(slices, datetime.now(UTC) + self._config.future_limit)

    def _flush(self, batch: Batch) -> Flushed:
        self._reconnect()
        batch = self._still_ours(batch)
        if not len(batch):
            return Flushed()
        expire_before = datetime.now(UTC) - self._config.retention
        stored_hours, _ = batch.events.split_expired(expire_before)
        for last in (False, True):
            try:
                self._plan.ensure(self._database, stored_hours.hours())
                flushed = flush(self._database, batch, self._claims, expire_before)
                break
            except NoPartitionError:
                if last:
                    raise
                self._plan.forget()
        for place, next_offset in flushed.next_offsets.items():
            held = self._claims[place]
            self._claims[place] = Claim(held.topic_id, held.epoch, next_offset)
        return flushed

    def _still_ours(self, batch: Batch) -> Batch:
        """Without what is below our claims' offsets (committed in doubt, or fetched before a seek)."""
        kept = []
        for piece in batch.slices:
            held = self._claims.get(piece.place)
            if held is None or self._assigned.get(piece.place) != piece.generation:
                continue
            first = next(
                (i for i, offset in enumerate(piece.offsets) if offset >= held.next_offset), len(piece)
            )
            if first < len(piece):
                kept.append(piece.cut(first, len(piece)) if first else piece)
        if [piece.place for piece in kept] == [piece.place for piece in batch.slices] and len(batch) == sum(
            map(len, kept)
        ):
            return batch
        return self._decode(kept)

    def _patiently(self, what: str, action: Callable[[], T]) -> T:
        """Run ``action`` until it succeeds, waiting longer each time; says so once, and when it is over."""
        wait, waiting = _BACKOFF_SECONDS[0], False
        while True:
            try:
                result = action()
            except RetryableError as error:
                if isinstance(error, DatabaseAwayError):
                    self._connected = False
                if not waiting:
                    _log.warning("waiting for %s: %s; nothing is lost, Kafka keeps it meanwhile", what, error)
                    waiting = True
                # Jitter: a hundred workers must not come back in step.
                if self._stop.wait(wait * random.uniform(0.5, 1.5)):  # noqa: S311 - no secret
                    raise _StoppedError from error
                wait = min(wait * 2, _BACKOFF_SECONDS[1])
            else:
                if waiting:
                    _log.info("%s is back; going on", what)
                return result


def _halves(slices: list[LogSlice]) -> list[list[LogSlice]]:
    """Two batches in log order with about half of the messages each."""
    wanted = sum(map(len, slices)) // 2
    first: list[LogSlice] = []
    second: list[LogSlice] = []
    for piece in slices:
        if wanted:
            first.append(piece.cut(0, wanted))
        if len(piece) > wanted:
            second.append(piece.cut(wanted, len(piece)))
        wanted = max(0, wanted - len(piece))
    return [first, second]
