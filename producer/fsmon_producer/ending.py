"""A session that captures no more, from what is left in its ring to its last report and its removal."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from fsmon_schemas.errors import FatalError
from fsmon_schemas.schema import Schema

from fsmon_producer import preflight
from fsmon_producer.config import Config
from fsmon_producer.journal import Journal
from fsmon_producer.pins import Pinned
from fsmon_producer.pipeline import Pipeline
from fsmon_producer.publish import publisher_of
from fsmon_producer.record import EventCodec
from fsmon_producer.remains import Remains
from fsmon_producer.ring import CorruptRingError, Cursor, Ring
from fsmon_producer.spools import spool_of
from fsmon_producer.state import kept
from fsmon_producer.stop import Request, Stop

_log = logging.getLogger(__name__)


class Ending:
    """Use as a context; its programs are detached on entry."""

    def __init__(
        self,
        pinned: Pinned,
        config: Config,
        spools: Path,
        stop: Request,
        *,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        session = pinned.identity.session
        self._pinned = pinned
        self._open_things = ExitStack()
        self._remains = Remains(pinned)
        self._open_things.callback(self._remains.close)
        start = Cursor(*self._remains.read_cursor())
        ring = Ring(self._remains.ring_fd, self._remains.ring_bytes, start)
        self._open_things.callback(ring.close)
        self._spool = spool_of(spools, session, config, lambda: pinned.identity)
        if self._spool is not None:
            self._open_things.callback(self._spool.close)
        codec = EventCodec(Schema(pinned.identity.schema))
        journal = Journal(self._remains, ring, self._spool, session, codec)
        publisher = publisher_of(config, pinned.identity, journal.start, pinned.bind)
        self._open_things.callback(publisher.close)
        self._pipeline = Pipeline(
            self._remains,
            journal,
            publisher,
            session,
            stop,
            report_interval=config.report_interval,
            drain_timeout=config.drain_timeout,
            between=between,
        )

    @property
    def undelivered(self) -> int:
        """Events in the ring that are neither acknowledged nor in the spool."""
        return sum(self._remains.counters().emitted.values()) - self._remains.read_cursor()[1]

    @property
    def told(self) -> bool:
        """Whether the session's end was reported, or is in the spool to be."""
        return self._pipeline.over

    def complete(self) -> bool:
        """Deliver all, however long it takes, then remove it; False where asked to stop before."""
        identity = self._pinned.identity
        reason = identity.end_reason
        _log.info("session %d: delivering what it has left (%s)", identity.session.id, reason)
        if not self._pipeline.end(reason):
            return False
        self._pinned.remove()
        return True

    def give_up(self, reason: str, *, deliver: bool) -> int:
        """Deliver what the drain time-out allows, then remove all; the number of events lost with it."""
        try:
            self._finish(reason, deliver=deliver)
        except CorruptRingError as error:  # it would be no less corrupt the next time
            _log.error("session %d: %s", self._pinned.identity.session.id, error)
        lost = self.undelivered
        self._pinned.remove()
        return lost

    def _finish(self, reason: str, *, deliver: bool) -> None:
        try:
            self._pipeline.finish(reason, deliver=deliver)
        except FatalError as error:
            if not deliver or isinstance(error, CorruptRingError):
                raise
            _log.error("session %d cannot be delivered: %s", self._pinned.identity.session.id, error)
            self._pipeline.finish(reason, deliver=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._open_things.close()


def detach(config: Config) -> int:
    """End and remove every capture that is pinned; the exit code: 1 where events or a last report were lost.

    What is left in their rings is delivered if the configuration names a Kafka, else it goes to the spool.
    """
    preflight.must_be_root()
    stop = Stop()
    stop.listen()
    lost = untold = 0
    with ExitStack() as open_things:
        keep = kept(config, open_things)
        if keep.pins is None:
            return 1
        for pinned in keep.pins.sessions():
            with Ending(pinned, config, keep.spools, stop) as ending:
                lost += ending.give_up("detached", deliver=config.bootstrap_servers is not None)
                untold += not ending.told
            _log.info("session %d is removed from the kernel", pinned.identity.session.id)
        keep.pins.clear()
    if lost:
        _log.error("%d events were captured, not delivered, and are lost", lost)
    return 1 if lost or untold else 0
