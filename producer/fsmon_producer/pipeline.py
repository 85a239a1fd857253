"""The producer at work: ring, stamp, publish, release, in one thread.

What was read stays in the journal until it is acknowledged. While anything is unreleased the loop sleeps in
the publisher's poll, never on the ring.
"""

import logging
import time
from collections.abc import Callable, Collection

from fsmon_producer.capture import Captured
from fsmon_producer.destination import Destination, InterruptedPublishError
from fsmon_producer.identity import Session
from fsmon_producer.journal import Journal
from fsmon_producer.metrics import Figures
from fsmon_producer.output import OutputClosedError
from fsmon_producer.report import Reporter
from fsmon_producer.stamp import Stamp, StampCounts
from fsmon_producer.stats import lost_events, summary
from fsmon_producer.stop import Request

_log = logging.getLogger(__name__)

# A delivery callback a batch: per message they cost a third of the throughput, and a larger
# batch only holds the ring longer.
_BATCH = 1000
_POLL = 0.01
_IDLE = 0.25  # how late a signal may be noticed
_CLOCK_INTERVAL = 1.0
_STATS_INTERVAL = 60.0
_CONNECT = 1.0
_FIRST_RETRY, _LAST_RETRY = 0.1, 10.0
_LAST_REPORT = 2.0
_PATIENCE = 1.0  # with a broker that acknowledges nothing, before what the ring holds moves to the spool


class Pipeline:
    """One session, from its oldest unreleased record to its last report, or to the end of this process."""

    def __init__(
        self,
        capture: Captured,
        journal: Journal,
        destination: Destination,
        session: Session,
        stop: Request,
        *,
        report_interval: float,
        drain_timeout: float,
        between: Callable[[], None] = lambda: None,
        meter: Callable[[Figures], None] | None = None,
        outlasts: Collection[str] = (),
    ) -> None:
        """``outlasts``: reasons to stop for which the capture goes on, to be taken over by the next producer.

        ``between`` is called between two batches: what else the thread that owns the capture has to do.

        ``meter`` is given the figures about once a second.
        """
        self._capture = capture
        self._log = journal
        self._to = destination
        self._session = session
        self._stop = stop
        self._report_interval = report_interval
        self._drain_timeout = drain_timeout
        self._between = between
        self._meter = meter
        self._reporter = Reporter(session, capture.backend)
        self._outlasts = outlasts
        self.over = False  # nothing is left to go on with: all is delivered, or in the spool to be
        self._stamp: Stamp | None = None
        self._progress = time.monotonic()  # when the broker acknowledged something, or had nothing to
        self._lost = 0
        self._next_clock = self._next_look = self._next_report = self._next_room = 0.0
        self._next_stats = time.monotonic() + _STATS_INTERVAL
        self._retry_at, self._retry_after = 0.0, _FIRST_RETRY

    def run(self) -> int:
        """Work until asked to stop, then drain; the exit code: 1 where something was left behind."""
        try:
            while self._stop.reason is None:
                self._between()
                self._step(_IDLE)
            return self.finish(self._stop.reason)
        except OutputClosedError as error:
            self._capture.detach()
            _log.info("%s: %s", error, self._figures())
            return 0

    def _step(self, idle: float) -> None:
        """One turn; sleeps at most about a second where there is nothing to do."""
        now = time.monotonic()
        self.tend()
        if now >= self._next_look:
            self._look_for_losses()
            self._next_look = now + self._report_interval
        if now >= self._next_stats:
            _log.info("%s", self._figures())
            self._next_stats = now + _STATS_INTERVAL
        try:
            if self._to.connected or self._connect(now):
                self._move(now, idle)
        except InterruptedPublishError as error:
            _log.warning("%s; sending again from seq %d", error, self._to.acknowledged.cursor.seq)
            self._log.rewind(self._to.acknowledged.cursor)
            self._retry_at = now + self._retry_after
            self._retry_after = min(_LAST_RETRY, 2 * self._retry_after)

    def tend(self) -> None:
        """What a capture needs also while nothing of it is delivered: time, names, and room in its ring."""
        now = time.monotonic()
        if now >= self._next_clock:
            self._capture.sync_clock()
            for path in self._capture.follow_names():
                _log.warning(
                    "%s is another file now, as after an editor's save: watching that one, too", path
                )
            if self._meter is not None:
                self._meter(self._measured())
            self._next_clock = now + _CLOCK_INTERVAL
        if self._log.filling and self._log.takes and (not self._log.full or now >= self._next_room):
            self._next_room = now + _CLOCK_INTERVAL
            if not self._log.from_spool and self._to.connected:
                if not self._is_slow(now):
                    return
                _log.warning("Kafka does not keep up: events go through the spool until it has")
                self._to.abandon()
            self._log.relieve()

    def _is_slow(self, now: float) -> bool:
        """Whether it is for the broker that the ring is filling, and not for us."""
        return now - self._progress > _PATIENCE or (
            self._log.unacknowledged > self._capture.ring_bytes // 2
            and self._log.ring_used > self._capture.ring_bytes * 3 // 4
        )

    def _connect(self, now: float) -> bool:
        if now < self._retry_at:
            time.sleep(min(_IDLE, self._retry_at - now))
            return False
        if not self._to.connect(_CONNECT):
            self._retry_at = now + _CONNECT
            return False
        counts = self._stamp.counts if self._stamp else StampCounts()
        self._stamp = self._log.stamp(self._to.frame, self._to.limit, counts)
        return True

    def _move(self, now: float, idle: float) -> None:
        assert self._stamp is not None
        if now >= self._next_report:
            self._next_report = now + self._report_interval
            self._to.send_report(self._report())
        sent = self._to.ready and self._log.read(self._stamp, self._to.frame, _BATCH)
        if sent:
            self._to.send(*sent)
        self._to.poll(0 if sent and len(sent[0]) == _BATCH else _POLL if not self._to.settled else 0)
        if self._log.acknowledge(self._to.acknowledged.cursor):
            self._retry_after = _FIRST_RETRY
            self._progress = now
        if self._to.settled:
            self._progress = now
            if self._log.idle and not self._log.wait(idle) and not sent:
                time.sleep(_POLL)  # the kernel is still writing the record at our position

    def end(self, reason: str) -> bool:
        """Deliver all that is left and the last report, however long it takes; False if asked to stop."""
        self._capture.detach()
        while not self._log.drained:
            if self._stop.reason is not None:
                return False
            self._between()
            self._step(0)
        while not self.over and self._stop.reason is None:
            self._between()
            self.over = self._last_report(reason, time.monotonic() + _LAST_REPORT)
        return self.over

    def finish(self, reason: str, *, deliver: bool = True) -> int:
        """Deliver what the drain time-out allows, or nothing; keep the rest if possible. The exit code."""
        goes_on = reason in self._outlasts
        if goes_on:
            self._log.stop_here()
        else:
            self._capture.detach()
        _log.info(
            "stopping (%s): delivering what is in the ring, at most %.0f s", reason, self._drain_timeout
        )
        patience = self._drain_timeout if deliver and (self._to.connected or not goes_on) else 0
        deadline = time.monotonic() + patience
        while not (drained := self._log.drained) and time.monotonic() < deadline:
            self._step(0)
        kept = not goes_on and not drained and self._log.keep()
        if patience:
            deadline = max(deadline, time.monotonic() + _LAST_REPORT)
        # For those who read reports it ends when the spool is delivered: till then its events are under way.
        reported = self._last_report(None if goes_on or kept else reason, deadline)
        left = sum(self._capture.counters().emitted.values()) - self._to.acknowledged.cursor.seq
        _log.info("%s", self._figures())
        if goes_on:
            _log.warning(
                "the kernel goes on capturing into the ring, where %d events wait: the next `fsmon-producer "
                "run` takes over, `fsmon-producer detach` ends it",
                max(0, left),
            )
            return 0
        delivered = drained and left <= 0
        waits = (kept or (delivered and not reported)) and self._log.keep_report(self._report(reason))
        self.over = waits or (delivered and reported)
        if waits:
            what = f"{left} events and the last report are" if kept else "the last report is"
            _log.warning("%s in the spool: the next `fsmon-producer run` delivers what is there", what)
            return 0
        if not delivered and not kept:
            _log.error("%d events were captured and not delivered: a longer --drain-timeout may help", left)
        if not reported:
            _log.error("the last report was not delivered: the ledger will not know how this session ended")
        return 0 if self.over else 1

    def _last_report(self, reason: str | None, deadline: float) -> bool:
        """Whether a report of now, with a reason the session's last, was acknowledged before the deadline."""
        if not self._to.reports:
            return True
        goal = None
        try:
            while time.monotonic() < deadline:
                if not self._to.connected:
                    self._connect(time.monotonic())
                elif goal is None and self._to.send_report(self._report(reason)):
                    goal = self._to.reports_acknowledged + 1
                self._to.poll(_POLL)
                if goal is not None and self._to.reports_acknowledged >= goal:
                    return True
        except InterruptedPublishError as error:
            _log.warning("%s", error)
        return False

    def _report(self, end_reason: str | None = None) -> bytes:
        counters = self._capture.counters()
        return self._reporter.body(
            counters, self._log.next_seq, self._to.acknowledged, self._log.dropped, end_reason
        )

    def _look_for_losses(self) -> None:
        lost = lost_events(self._capture.counters())
        if lost > self._lost:
            _log.warning(
                "%d events could not be captured, %d in all: %s", lost - self._lost, lost, self._figures()
            )
            self._lost = lost

    def _measured(self) -> Figures:
        return Figures(
            self._capture.counters(),
            self._to.acknowledged.cursor.seq,
            self._log.ring_used,
            self._log.spooled,
            sum(end - first for first, end in self._log.dropped),
        )

    def _figures(self) -> str:
        counts = self._stamp.counts if self._stamp else StampCounts()
        return summary(self._capture.counters(), self._to.acknowledged.cursor.seq, counts)
