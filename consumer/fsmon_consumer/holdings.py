"""The partitions that this worker may write, and the connection to PostgreSQL they are written through.

A claim and the connection belong together: after a lost connection a commit may have been in doubt, so
every partition we still have is claimed anew, and the database says where it goes on.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from fsmon_schemas import RetryableError

from fsmon_consumer import claims
from fsmon_consumer.batch import LogSlice
from fsmon_consumer.claims import Claim, StuckError
from fsmon_consumer.cluster import Cluster
from fsmon_consumer.config import ConsumerConfig
from fsmon_consumer.inbox import Assigned, Inbox, Revoked, Truncated
from fsmon_consumer.migrate import require_current
from fsmon_consumer.place import Place
from fsmon_consumer.poller import Orders, Reclaim, Start, Stored
from fsmon_consumer.store import Database, DatabaseAwayError

_log = logging.getLogger(__name__)
_RECLAIM_SECONDS = 5.0  # after another worker took a partition that the group still gives to us
_PAUSE_SECONDS = 60.0  # a paused partition is looked at again that often: a person may have been there
_LOOK_SECONDS = 5.0  # between looks whether a topic is still the one we read


class Holdings:
    """For the flushing thread alone. ``generation_of`` is the poller's, ``orders`` go to it.

    ``paused`` are the partitions that wait for a person, and why.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        cluster: Cluster,
        generation_of: Callable[[Place], int | None],
        orders: Orders,
    ) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._config = config
        self._cluster = cluster
        self._generation_of = generation_of
        self._orders = orders
        self._look_due = 0.0
        self.paused: dict[Place, str] = {}
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
                    self._claim_again(place)
            self._connected = True
        return self._database

    def adopt(self, cluster_id: str) -> None:
        """Bind the database to our group of this cluster, or FatalError.

        The group is looked at first: a database that it refuses must stay free for another one.
        """
        database = self.open()
        self.database_id = claims.database_id(database)
        self._require_ours()
        claims.adopt(database, group=self._config.group, cluster_id=cluster_id)

    def failed(self, error: RetryableError) -> None:
        """To be told of every failed try: some mean that the connection is lost."""
        if isinstance(error, DatabaseAwayError):
            self._connected = False

    def close(self) -> None:
        """Drop the connection; the claims stand until somebody else makes them."""
        self._database.close()

    def settle(self, inbox: Inbox) -> None:
        """Act on what the poller was told of partitions; a failed claim is tried again."""
        self.open()
        while (news := inbox.next_news()) is not None:
            match news:
                case Revoked(place):
                    self._claims.pop(place, None)
                    self.paused.pop(place, None)
                case Truncated(place, why):
                    self.pause(place, why)
                case Assigned(place, generation):
                    if self._generation_of(place) != generation:
                        continue  # taken away meanwhile
                    try:
                        self._claim_or_pause(place)
                    except RetryableError:
                        inbox.tell(news)
                        raise
                    if (held := self._claims.get(place)) is not None:
                        self._orders.put(Start(place, generation, held.next_offset, held.leader_epoch))

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
            self._claims[place] = replace(held, next_offset=next_offset)
            self.paused.pop(place, None)

    def give_up(self, place: Place, seconds: float = _RECLAIM_SECONDS) -> None:
        """It is not ours any more, or not as we know it: to be claimed again so many ``seconds`` later."""
        self._claims.pop(place, None)
        self._orders.put(Reclaim(place, seconds))

    def pause(self, place: Place, why: str) -> None:
        """Read nothing more of it until a person has looked; every minute it is tried whether one has."""
        _log.error("%s[%d] is paused, and the other partitions go on: %s", *place, why)
        self.paused[place] = why
        self.give_up(place, _PAUSE_SECONDS)
        claims.pause(self._database, place, why)

    def look(self) -> None:
        """Every few seconds: is each topic still the one that was claimed? One made anew is claimed anew.

        Kafka would not tell: where the new log is longer than the offset we are at, it goes on there.
        And does the group fill our database alone? What is claimed is marked, also where there is nothing to
        read, so that two that began at once find each other.
        """
        if time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + _LOOK_SECONDS
        try:
            marks = self._require_ours()
            found = {topic: self._cluster.topic_id(topic) for topic in {topic for topic, _ in self._claims}}
        except RetryableError:
            return  # away or deleted: for others to say
        for place, held in list(self._claims.items()):
            if found[place[0]] != held.topic_id:
                self.give_up(place, 0)
        known = {place: held.next_offset for place, held in self._claims.items()}
        if unmarked := {place: at for place, at in known.items() if marks.get(place) != self.database_id}:
            self._orders.put(Stored(unmarked))

    def _require_ours(self) -> dict[Place, str]:
        """The databases' marks in the group's offsets; FatalError where it is not ours that they fill."""
        marks = self._cluster.committed_by()
        claims.require_ours(self._config.group, self.database_id, marks)
        return marks

    def _claim_again(self, place: Place) -> None:
        """After a lost connection. What flows was fetched for the offset we knew; a database that fell back
        behind it (a promoted standby that had not received all) wants what came before once more.
        """
        known = self._claims[place].next_offset
        self._claim_or_pause(place)
        held = self._claims.get(place)
        if held is not None and held.next_offset < known:
            _log.warning(
                "%s[%d]: the database holds less than was committed (a standby that lagged?); reading again "
                "from offset %d instead of %d",
                *place, held.next_offset, known,
            )  # fmt: skip
            self.give_up(place, 0)

    def _claim_or_pause(self, place: Place) -> None:
        try:
            self._claim(place)
        except StuckError as error:
            self.pause(place, str(error))

    def _claim(self, place: Place) -> None:
        self._require_ours()
        log = self._cluster.log_bounds(place)
        self._claims[place] = claims.claim(
            self._database, place, log, worker=self.worker, takeover_after=self._config.takeover_after
        )
        self._look_due = 0.0
        _log.info("%s[%d]: goes on at offset %d", *place, self._claims[place].next_offset)
