"""The flush: rows, ledger, dead letters, reports and offsets of a batch in one transaction.

Order in it: fence the partitions, lock the sessions, sort out what was seen before, write the
ledger, and last the rows, so that `stored_at` stands close to the commit. Everything that another
worker may lock too is locked in key order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fsmon_schemas import FatalError

from fsmon_consumer import report_ledger
from fsmon_consumer.batch import Batch
from fsmon_consumer.burial import bury
from fsmon_consumer.claims import Claim
from fsmon_consumer.dead_letters import DeadLetter
from fsmon_consumer.layout import COPY_COLUMNS
from fsmon_consumer.place import Place
from fsmon_consumer.quarantine import Doubts, Quarantine
from fsmon_consumer.sessions import Sessions, Stream, Tally
from fsmon_consumer.store import Database, statement
from fsmon_consumer.table import EventTable

_COPY = (
    "COPY file_events (" + ", ".join(f'"{name}"' for name in COPY_COLUMNS) + ") FROM STDIN (FORMAT BINARY)"
)


@dataclass
class Flushed:
    """The outcome of a flush: where the committed partitions go on, and which were not ours any more."""

    next_offsets: dict[Place, int] = field(default_factory=dict)
    tallies: dict[Place, Tally] = field(default_factory=dict)
    fenced: set[Place] = field(default_factory=set)


def flush(
    database: Database,
    batch: Batch,
    claims: Mapping[Place, Claim],
    expire_before: datetime,
    doubts: Doubts | None = None,
    *,
    replayed_from: str | None = None,
) -> Flushed:
    """Store ``batch``; partitions whose claim no longer holds are left out and named in the result.

    With ``doubts`` identities are looked at first, and DoubtError may come; without them the messages
    have been (a dead letter that a person wants stored). ``replayed_from``: these are dead letters of the
    topic of that id, which need not be the partition's any more; no offset moves.
    """
    with database.transaction():
        return _Flush(database, batch, claims, expire_before, doubts, replayed_from=replayed_from).run()


class _Flush:
    def __init__(
        self,
        database: Database,
        batch: Batch,
        claims: Mapping[Place, Claim],
        expire_before: datetime,
        doubts: Doubts | None,
        *,
        replayed_from: str | None,
    ) -> None:
        self._database = database
        self._batch = batch
        self._claims = claims
        self._expire_before = expire_before
        self._tallies = [Tally() for _ in batch.slices]
        self._dead: list[tuple[int, DeadLetter]] = []
        self._sessions = Sessions(database)
        self._doubts = doubts
        self._replayed_from = replayed_from
        self._quarantine = Quarantine(database, batch.slices, doubts or Doubts())

    def run(self) -> Flushed:
        batch, result = self._batch, Flushed()
        self._database.rows("SET LOCAL lock_timeout = '10s'")
        lost = self._fence()
        result.fenced = {batch.slices[slot].place for slot in lost}
        kept = [slot for slot in range(len(batch.slices)) if slot not in lost]
        if not kept:
            return result
        # The batch itself stays whole: it may be flushed again, with every partition ours once more.
        self._dead = [entry for entry in batch.dead if entry[0] not in lost]
        events = batch.events.without_slots(sorted(lost))
        self._lock_sessions(events)
        if self._doubts is not None:
            events = self._put_aside(
                events, self._quarantine.out_of_place(events, self._dead, self._sessions)
            )
        self._open_sessions(events)
        fresh = self._settle_events(events)
        self._settle_dead(events)
        self._sessions.write()
        for slot, report in batch.reports:
            if slot not in lost:
                report_ledger.store(self._database, report)
                self._tallies[slot].stored += 1
        for slot in kept:
            piece = batch.slices[slot]
            replayed = self._replayed_from is not None  # what was passed when it was buried
            reached = self._claims[piece.place].next_offset if replayed else piece.offsets[-1] + 1
            result.next_offsets[piece.place] = reached
            result.tallies[piece.place] = self._tallies[slot]
        self._advance(kept, result)
        if len(fresh):
            taken = self._database.copy(_COPY, fresh.copy_chunks())
            if taken != len(fresh):  # the ledger in this transaction says otherwise: nothing is committed
                raise FatalError(f"COPY stored {taken} rows of {len(fresh)}; please report it")
        return result

    def _fence(self) -> set[int]:
        """Lock our partitions' rows; returns the slots whose claim no longer holds."""
        places = [piece.place for piece in self._batch.slices]
        held = {
            (topic, partition): Claim(topic_id, epoch, next_offset)
            for topic, partition, topic_id, epoch, next_offset in self._database.rows(
                statement("fence"),
                {
                    "topics": [topic for topic, _ in places],
                    "partitions": [partition for _, partition in places],
                },
            )
        }
        return {slot for slot, place in enumerate(places) if held.get(place) != self._claims.get(place, None)}

    def _lock_sessions(self, events: EventTable) -> None:
        spans: dict[Stream, tuple[int, int]] = {}
        partitions: dict[Stream, int] = {}
        for rows in events.streams():
            stream = rows.host_id, rows.session
            spans[stream] = rows.first, rows.stop
            partitions[stream] = self._batch.slices[rows.slot].partition
        for slot, letter in self._dead:
            if letter.identity is not None:
                stream, seq = (letter.identity.host_id, letter.identity.session), letter.identity.seq
                first, stop = spans.get(stream, (seq, seq + 1))
                spans[stream] = min(first, seq), max(stop, seq + 1)
                partitions.setdefault(stream, self._batch.slices[slot].partition)
        self._sessions.lock(spans, partitions)

    def _put_aside(self, events: EventTable, letters: list[tuple[int, DeadLetter]]) -> EventTable:
        self._dead += letters
        return events.without_places([(slot, letter.offset) for slot, letter in letters])

    def _open_sessions(self, events: EventTable) -> None:
        """Make and lock the rows of sessions that are new and believed; somebody else may have made one."""
        new = {
            (rows.host_id, rows.session): rows
            for rows in events.streams()
            if not self._sessions[rows.host_id, rows.session].known
        }
        if new:
            partitions = {stream: self._batch.slices[rows.slot].partition for stream, rows in new.items()}
            self._sessions.open(partitions)
            self._sessions.lock({stream: (rows.first, rows.stop) for stream, rows in new.items()}, partitions)

    def _settle_events(self, events: EventTable) -> EventTable:
        """Count repeated and expired events; returns those to store."""
        suspects = [
            (rows.host_id, rows.session)
            for rows in events.streams()
            if rows.distinct != rows.rows
            or self._sessions[rows.host_id, rows.session].seen.overlaps(rows.first, rows.stop)
        ]
        known = [(*stream, start, stop) for stream in suspects for start, stop in self._sessions[stream].seen]
        new, repeated = events.split_repeated(suspects, known)
        repeated = self._put_aside(repeated, self._quarantine.conflicts(repeated, new, self._expire_before))
        for host, session, start, stop in new.runs():
            self._sessions[host, session].settled.append((start, stop))
        for rows in new.streams():
            self._sessions[rows.host_id, rows.session].newest = rows.last_time
        fresh, expired = new.split_expired(self._expire_before)
        for part, outcome in ((fresh, "stored"), (expired, "expired"), (repeated, "duplicates")):
            for slot, count in part.slot_counts().items():
                self._tallies[slot].count(outcome, count)
            for rows in part.streams():
                self._sessions[rows.host_id, rows.session].tally.count(outcome, rows.rows)
        return fresh

    def _settle_dead(self, events: EventTable) -> None:
        topic_ids = {place: self._replayed_from or claim.topic_id for place, claim in self._claims.items()}
        for slot, written in bury(self._database, self._dead, events, self._sessions, topic_ids):
            # What was read again lies in dead_letters already.
            self._tallies[slot].count("dead" if written else "duplicates", 1)

    def _advance(self, kept: list[int], result: Flushed) -> None:
        pieces = [self._batch.slices[slot] for slot in kept]
        tallies = [self._tallies[slot] for slot in kept]
        self._database.rows(
            statement("advance_offsets"),
            {
                "topics": [piece.topic for piece in pieces],
                "partitions": [piece.partition for piece in pieces],
                "next_offsets": [result.next_offsets[piece.place] for piece in pieces],
                "leader_epochs": [piece.leader_epoch for piece in pieces],
                "messages": [len(piece) for piece in pieces],
                "stored": [tally.stored for tally in tallies],
                "duplicates": [tally.duplicates for tally in tallies],
                "dead": [tally.dead for tally in tallies],
                "expired": [tally.expired for tally in tallies],
            },
        )
