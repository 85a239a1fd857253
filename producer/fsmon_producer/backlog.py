"""A session of which only the spool is left: its ring went with the process or with the boot.

Its events are delivered, then its last report if one was kept. Where none was, the kernel's last counts are
not known, and the ledger shows the tail as unknown.
"""

import logging
import time
from collections.abc import Callable

from fsmon_schemas.schema import Schema

from fsmon_producer.destination import Destination, InterruptedPublishError
from fsmon_producer.pins import Identity
from fsmon_producer.record import EventCodec
from fsmon_producer.report import delivered
from fsmon_producer.ring import Cursor
from fsmon_producer.spool import Spool
from fsmon_producer.stamp import Stamp
from fsmon_producer.stop import Request

_log = logging.getLogger(__name__)
_BATCH = 1000
_POLL = 0.01
_CONNECT = 1.0


class Backlog:
    """``deliver`` it; the spool is removed with its last event and report."""

    def __init__(self, spool: Spool, identity: Identity, destination: Destination) -> None:
        self._spool = spool
        self._session = identity.session
        self._codec = EventCodec(Schema(identity.schema))
        self._to = destination
        self._report = spool.report

    def deliver(self, stop: Request, between: Callable[[], None]) -> bool:
        """Work until all has arrived; False where asked to stop before."""
        what = "its last report"
        if not self._spool.empty:
            what = f"seq {self._spool.first} to {self._spool.end - 1}"
        _log.info("session %d: delivering %s from the spool", self._session.id, what)
        while stop.reason is None:
            between()
            try:
                if not self._to.connected and not self._to.connect(_CONNECT):
                    time.sleep(_CONNECT / 4)
                    continue
                if self._step():
                    self._spool.remove()
                    return True
            except InterruptedPublishError as error:
                _log.warning("%s; sending again", error)
                if not self._spool.empty:
                    self._spool.rewind(max(self._to.acknowledged.cursor.seq, self._spool.first))
                time.sleep(_CONNECT / 4)
        return False

    def _step(self) -> bool:
        """One turn; whether nothing is left."""
        stamp = Stamp(
            self._to.frame, self._session.host_id, self._session.id, self._to.limit, codec=self._codec
        )
        if self._to.ready and self._spool.unread:
            first, bodies = self._spool.read(_BATCH)
            self._to.send(stamp.framed(first, bodies, self._to.frame), Cursor(0, first + len(bodies)))
        self._to.poll(_POLL)
        acknowledged = self._to.acknowledged.cursor.seq
        if acknowledged < self._spool.end:
            self._spool.release(acknowledged)
            return False
        if not self._to.settled:
            return False
        # The last of it stays till then: without events nobody would look for a report.
        if self._report is None or self._to.reports_acknowledged:
            return True
        self._to.send_report(delivered(self._report, self._to.acknowledged, self._spool.dropped.spans))
        return False
