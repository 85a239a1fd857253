"""The partitions that this worker may write, and the connection to PostgreSQL they are written through.

A claim and the connection belong together: after a lost connection a commit may have been in doubt, so
every partition we still have is claimed anew, and the database says where it goes on.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping

from fsmon_schemas import RetryableError

from fsmon_consumer import claims
from fsmon_consumer.batch import LogSlice
from fsmon_consumer.claims import Claim
from fsmon_consumer.cluster import Cluster
from fsmon_consumer.config import ConsumerConfig
from fsmon_consumer.inbox import Assigned, Inbox, Revoked
from fsmon_consumer.migrate import require_current
from fsmon_consumer.place import Place
from fsmon_consumer.poller import Orders, Start
from fsmon_consumer.store import Database, DatabaseAwayError

_log = logging.getLogger(__name__)


class Holdings:
    """For the flushing thread alone. ``generation_of`` is the poller's."""

    def __init__(
        self, config: ConsumerConfig, cluster: Cluster, generation_of: Callable[[Place], int | None]
    ) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._config = config
        self._cluster = cluster
        self._generation_of = generation_of
        self._database = Database(config.dsn, role="run")
        self._connected = False
        self._claims: dict[Place, Claim] = {}
        self.database_id = ""

    @property
    def claims(self) -> Mapping[Place, Claim]:
        """What we may write, as far as we know: the fence of a flush knows better."""
        return self._claims

    def open(self) -> Database:
        """The connection, made anew together with our claims if it was lost."""
        if not self._connected:
            self._database.connect()
            require_current(self._database)
            for place in list(self._claims):
                if self._generation_of(place) is None:
                    del self._claims[place]
                else:
                    self._claim(place)
            self._connected = True
        return self._database

    def adopt(self, cluster_id: str) -> None:
        """Bind the database to our group of this cluster, or FatalError.

        The group is looked at first: a database that it refuses must stay free for another one.
        """
        database = self.open()
        self.database_id = claims.database_id(database)
        self._require_ours(self._cluster.committed_by())
        claims.adopt(database, group=self._config.group, cluster_id=cluster_id)

    def failed(self, error: RetryableError) -> None:
        """To be told of every failed try: some mean that the connection is lost."""
        if isinstance(error, DatabaseAwayError):
            self._connected = False

    def close(self) -> None:
        """Drop the connection; the claims stand until somebody else makes them."""
        self._database.close()

    def settle(self, inbox: Inbox, orders: Orders) -> None:
        """Act on what the poller was told of partitions; a failed claim is tried again."""
        self.open()
        while (news := inbox.next_news()) is not None:
            match news:
                case Revoked(place):
                    self._claims.pop(place, None)
                case Assigned(place, generation):
                    if self._generation_of(place) != generation:
                        continue  # taken away meanwhile
                    try:
                        self._claim(place)
                    except RetryableError:
                        inbox.tell(news)
                        raise
                    orders.put(Start(place, generation, self._claims[place].next_offset))

    def still_ours(self, slices: Iterable[LogSlice]) -> list[LogSlice]:
        """Without what is below our claims' offsets (committed in doubt, or fetched before a seek)."""
        kept = []
        for piece in slices:
            held = self._claims.get(piece.place)
            if held is None or self._generation_of(piece.place) != piece.generation:
                continue
            first = next(
                (i for i, offset in enumerate(piece.offsets) if offset >= held.next_offset), len(piece)
            )
            if first < len(piece):
                kept.append(piece.cut(first, len(piece)) if first else piece)
        return kept

    def advance(self, next_offsets: Mapping[Place, int]) -> None:
        """The database holds everything below these offsets."""
        for place, next_offset in next_offsets.items():
            held = self._claims[place]
            self._claims[place] = Claim(held.topic_id, held.epoch, next_offset)

    def give_up(self, place: Place) -> None:
        """Another worker has claimed it."""
        self._claims.pop(place, None)

    def _require_ours(self, committed: Mapping[Place, str]) -> None:
        for place, other in committed.items():
            if other != self.database_id:
                raise claims.foreign_group(self._config.group, place, other)

    def _claim(self, place: Place) -> None:
        self._require_ours(self._cluster.committed_by(place))
        log = self._cluster.log_bounds(place)
        self._claims[place] = claims.claim(
            self._database, place, log, worker=self.worker, takeover_after=self._config.takeover_after
        )
        _log.info("%s[%d]: goes on at offset %d", *place, self._claims[place].next_offset)
