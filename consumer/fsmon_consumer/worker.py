"""`fsmon-consumer run`: one group member that moves messages into one database. The composition root.

Two threads: the polling one (poller.py) fetches, the flushing one claims partitions, decodes and stores.
Between them stand the inbox (bounded) and a queue of orders for the poller.
"""

import logging
import threading
from bisect import bisect_left
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime

from fsmon_consumer.absent import AbsentTopics
from fsmon_consumer.batch import Batch, Decoder, LogSlice, refuse
from fsmon_consumer.cluster import Cluster
from fsmon_consumer.config import ConsumerConfig
from fsmon_consumer.flush import Flushed, flush
from fsmon_consumer.holdings import Holdings
from fsmon_consumer.inbox import Inbox
from fsmon_consumer.metrics import Metrics
from fsmon_consumer.partitions import PartitionPlan
from fsmon_consumer.patience import Patience, StoppedError
from fsmon_consumer.place import Place
from fsmon_consumer.poller import Orders, Poller, Stored
from fsmon_consumer.quarantine import DoubtError, Doubts
from fsmon_consumer.registry import WriterSchemas
from fsmon_consumer.store import NoPartitionError, RowRefusedError
from fsmon_consumer.streaks import Streaks

_log = logging.getLogger(__name__)
_DOUBT_SECONDS = 0.3  # until a message is read again that only the next ones tell of


class Worker:
    """Runs until ``stop``; ``run`` raises what no waiting can mend."""

    def __init__(self, config: ConsumerConfig) -> None:
        self._config = config
        self._stop = threading.Event()
        self._orders = Orders()
        self._inbox = Inbox(capacity=2 * config.batch_rows)
        self._poller = Poller(self._inbox, self._orders)
        self._cluster = Cluster(config)
        self._holdings = Holdings(config, self._cluster, self._poller.generation_of, self._orders)
        self._patience = Patience(self._stop, self._holdings.failed)
        self._decoder = Decoder(config.reports_topic, WriterSchemas(config.registry).find)
        self._plan = PartitionPlan(ahead=config.partitions_ahead, retention=config.retention)
        self._doubts = Doubts()
        self._streaks = Streaks(config.pause_after)
        self._refused: dict[Place, int] = {}  # single messages in a row
        self._absent = AbsentTopics([config.topic, config.reports_topic], self._cluster.absent)
        self._metrics: Metrics | None = None
        self._failure: BaseException | None = None

    def stop(self) -> None:
        """Ask the worker to end; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Consume until ``stop``. The flush at hand is finished; what was not flushed is read again."""
        with ExitStack() as open_things:
            if self._config.metrics is not None:
                self._metrics = self._metrics_on(self._config.metrics)
                open_things.callback(self._metrics.close)
            self._run()

    def _metrics_on(self, address: tuple[str, int]) -> Metrics:
        """They ask Kafka by a client of their own, in the thread of a scrape."""
        cluster, topics = Cluster(self._config), (self._config.topic, self._config.reports_topic)
        claims, paused = self._holdings.claims, self._holdings.paused
        return Metrics(
            address,
            end_offsets=lambda: cluster.end_offsets(topics),
            next_offsets=lambda: {place: claim.next_offset for place, claim in dict(claims).items()},
            paused=lambda: list(paused),
        )

    def _run(self) -> None:
        wait_for = self._patience.wait_for
        _log.info("connecting to PostgreSQL, then to Kafka at %s", self._config.bootstrap_servers)
        try:
            wait_for("PostgreSQL", self._holdings.open)
            cluster_id = wait_for("Kafka", self._cluster.cluster_id)
            wait_for("PostgreSQL or Kafka", lambda: self._holdings.adopt(cluster_id))
            protocol = wait_for("Kafka", self._cluster.group_protocol)
        except StoppedError:
            _log.info("stopped before it began: nothing was read")
            return
        self._absent.look()
        self._poller.join(self._config, protocol, self._holdings.database_id)
        flusher = threading.Thread(target=self._flush_forever, name="flusher")
        flusher.start()
        _log.info(
            "consuming %s and %s as %s of group %s",
            self._config.topic, self._config.reports_topic, self._holdings.worker, self._config.group,
        )  # fmt: skip
        try:
            self._poller.poll_until(self._stop)
        finally:
            self._stop.set()
            self._inbox.close()
            flusher.join()
            self._poller.leave()
            self._holdings.close()
            _log.info("stopped; what was read and not stored is read again at the next start")
        if self._failure is not None:
            raise self._failure

    # --- the flushing thread ---

    def _flush_forever(self) -> None:
        wait_for = self._patience.wait_for
        try:
            while not self._stop.is_set():
                wait_for("PostgreSQL or Kafka", lambda: self._holdings.settle(self._inbox))
                self._holdings.look()
                slices = self._inbox.take(
                    self._config.batch_rows, self._config.linger.total_seconds(), timeout=1.0
                )
                if slices:
                    self._store(slices)
                else:
                    self._absent.look()
                wait_for("PostgreSQL", self._maintain)
        except StoppedError:
            pass
        except BaseException as error:
            self._failure = error
        finally:
            self._stop.set()
            self._inbox.close()

    def _maintain(self) -> None:
        self._plan.maintain(self._holdings.open(), datetime.now(UTC))

    def _store(self, slices: list[LogSlice]) -> None:
        """Decode and flush; a row that PostgreSQL refuses is narrowed down to by halves."""
        wait_for = self._patience.wait_for
        batch = wait_for("the schema registry", lambda: self._decode(slices))
        outlook = self._streaks.look(batch)
        if outlook.too_long:
            self._store(outlook.before(slices))
            wait_for("PostgreSQL", lambda: self._pause(outlook.reasons(slices)))
            return
        try:
            flushed = wait_for("PostgreSQL", lambda: self._flush(batch))
        except DoubtError as error:
            self._store_before(slices, error.offsets)
            return
        except RowRefusedError as error:
            if len(batch) > 1:
                for half in _halves(batch.slices):
                    self._store(half)
                return
            if self._is_refused_again(batch.slices[0], str(error)):
                return
            flushed = self._flush_refused(batch, str(error))
        else:
            for piece in batch.slices:
                self._refused.pop(piece.place, None)
        self._streaks.keep(outlook, flushed.next_offsets)
        self._tell(flushed)

    def _is_refused_again(self, piece: LogSlice, detail: str) -> bool:
        """Whether so many messages in a row were that their partition is paused: the fault is another."""
        place, limit = piece.place, self._config.pause_after
        _log.error("PostgreSQL refuses %s[%d] offset %d", *place, piece.offsets[0])
        self._refused[place] = in_a_row = self._refused.get(place, 0) + 1
        if in_a_row < limit:
            return False
        why = (
            f"{in_a_row} messages in a row could not be stored, and are tried each minute; the last: {detail}"
        )
        self._patience.wait_for("PostgreSQL", lambda: self._pause({place: why}))
        return True

    def _flush_refused(self, batch: Batch, detail: str) -> Flushed:
        """Bury a message; what refuses its identity, too, gets it without."""
        wait_for, named = self._patience.wait_for, refuse(batch, detail, named=True)
        try:
            return wait_for("PostgreSQL", lambda: self._flush(named))
        except RowRefusedError as error:
            nameless = refuse(batch, f"{detail}; then {error}", named=False)
            return wait_for("PostgreSQL", lambda: self._flush(nameless))

    def _store_before(self, slices: list[LogSlice], offsets: Mapping[Place, int]) -> None:
        """Store what lies before ``offsets``; those partitions are read again from there."""
        before = [
            piece.cut(0, bisect_left(piece.offsets, offsets.get(piece.place, piece.offsets[-1] + 1)))
            for piece in slices
        ]
        self._store([piece for piece in before if len(piece)])
        for place in offsets:
            self._holdings.give_up(place, _DOUBT_SECONDS)

    def _pause(self, reasons: Mapping[Place, str]) -> None:
        self._holdings.open()
        for place, why in reasons.items():
            self._holdings.pause(place, why)

    def _tell(self, flushed: Flushed) -> None:
        if self._metrics is not None:
            self._metrics.count(flushed.tallies)
        for place, tally in flushed.tallies.items():
            _log.debug("%s[%d]: %s", *place, tally)
            if tally.dead:
                _log.warning(
                    "%s[%d]: %d messages could not be stored and went to dead_letters", *place, tally.dead
                )
        for place in flushed.fenced:
            self._holdings.give_up(place)
        if flushed.next_offsets:
            self._orders.put(Stored(flushed.next_offsets))

    def _decode(self, slices: list[LogSlice]) -> Batch:
        return self._decoder.decode(slices, datetime.now(UTC) + self._config.future_limit)

    def _flush(self, batch: Batch) -> Flushed:
        database = self._holdings.open()
        kept = self._holdings.still_ours(batch.slices)
        if not kept:
            return Flushed()
        if sum(map(len, kept)) < len(batch):
            batch = self._decode(kept)
        expire_before = datetime.now(UTC) - self._config.retention
        stored_hours, _ = batch.events.split_expired(expire_before)
        for last in (False, True):
            try:
                self._plan.ensure(database, stored_hours.hours())
                flushed = flush(database, batch, self._holdings.claims, expire_before, self._doubts)
                break
            except NoPartitionError:
                if last:
                    raise
                self._plan.forget()
        self._holdings.advance(flushed.next_offsets)
        return flushed


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
