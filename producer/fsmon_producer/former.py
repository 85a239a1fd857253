"""Sessions before this run's: what their rings and spools still hold is delivered, and they are ended."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fsmon_schemas.errors import FatalError

from fsmon_producer.backlog import Backlog
from fsmon_producer.config import Config
from fsmon_producer.ending import Ending
from fsmon_producer.publish import publisher_of
from fsmon_producer.ring import Cursor
from fsmon_producer.spool import Spool
from fsmon_producer.spools import sessions_in
from fsmon_producer.state import Kept
from fsmon_producer.stop import Request
from fsmon_producer.succession import Begun

_log = logging.getLogger(__name__)


def settle_former(
    config: Config, keep: Kept, begun: Begun, stop: Request, *, between: Callable[[], None]
) -> None:
    """Deliver until nothing is left of them, or until asked to stop, which is said then.

    ``between`` is called all the while.

    What can never be delivered, since its topic is gone say, is told and left as it is.
    """
    alive = {begun.session.id}  # what these have spooled is for their rings' readers to send
    for pinned in begun.ending:
        alive.add(pinned.identity.session.id)
        with _told(), Ending(pinned, config, keep.spools, stop, between=between) as ending:
            if ending.complete():
                alive.remove(pinned.identity.session.id)
            else:
                _log.warning(
                    "session %d: %d events wait in its ring: the next `fsmon-producer run` delivers them",
                    pinned.identity.session.id,
                    ending.undelivered,
                )
    for session in sorted(sessions_in(keep.spools)):
        if session not in alive and stop.reason is None:
            with _told():
                _deliver(keep.spools / f"{session:x}", session, config, stop, between)


def _deliver(
    directory: Path, session: int, config: Config, stop: Request, between: Callable[[], None]
) -> None:
    spool = Spool(directory, session, config.spool_size)
    with closing(spool):
        identity = spool.identity
        if identity is None:
            if spool.dropped.spans:
                _log.error("session %d: seqs that a full spool gave up cannot be reported any more", session)
            spool.remove()  # all of it had arrived
            return
        publisher = publisher_of(config, identity, Cursor(0, spool.first), lambda _: None)
        with closing(publisher):
            Backlog(spool, identity, publisher).deliver(stop, between)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except FatalError as error:
        _log.error("of an earlier session something cannot be delivered, and stays where it is: %s", error)
