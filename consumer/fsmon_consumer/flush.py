"""The flush: rows, ledger, dead letters, reports and offsets of a batch in one transaction.

Order in it: fence the partitions, lock the sessions, sort out what was seen before, write the
ledger, and last the rows, so that `stored_at` stands close to the commit. Everything that another
worker may lock too is locked in key order.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fsmon_schemas import FatalError

from fsmon_consumer.batch import Batch
from fsmon_consumer.claims import Claim
from fsmon_consumer.dead_letters import DeadLetter, Identity, schema_text
from fsmon_consumer.layout import COPY_COLUMNS
from fsmon_consumer.place import Place
from fsmon_consumer.sessions import Sessions, Stream, Tally
from fsmon_consumer.store import Database, as_json, statement
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
    database: Database, batch: Batch, claims: Mapping[Place, Claim], expire_before: datetime
) -> Flushed:
    """Store ``batch``; partitions whose claim no longer holds are left out and named in the result."""
    with database.transaction():
        return _Flush(database, batch, claims, expire_before).run()


class _Flush:
    def __init__(
        self, database: Database, batch: Batch, claims: Mapping[Place, Claim], expire_before: datetime
    ) -> None:
        self._database = database
        self._batch = batch
        self._claims = claims
        self._expire_before = expire_before
        self._tallies = [Tally() for _ in batch.slices]
        self._dead: list[tuple[int, DeadLetter]] = []
        self._sessions = Sessions(database)

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
        fresh = self._settle_events(events)
        self._settle_dead(events)
        self._sessions.write()
        for slot, report in batch.reports:
            if slot not in lost:
                self._store_report(report)
                self._tallies[slot].stored += 1
        for slot in kept:
            piece = batch.slices[slot]
            # A replayed dead letter lies before the offset that the partition has reached.
            reached = self._claims[piece.place].next_offset
            result.next_offsets[piece.place] = max(reached, piece.offsets[-1] + 1)
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
        self._sessions.open(partitions)
        for slot, letter in self._dead:
            if letter.identity is not None:
                stream, seq = (letter.identity.host_id, letter.identity.session), letter.identity.seq
                first, stop = spans.get(stream, (seq, seq + 1))
                spans[stream] = min(first, seq), max(stop, seq + 1)
                partitions.setdefault(stream, self._batch.slices[slot].partition)
        self._sessions.lock(spans, partitions)

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
        """Write the dead letters. One counts for its session only if it stands where its seq belongs.

        A damaged message may name any seq: believed, it would make the real event of that number
        a duplicate. So the seq has to be the one after its session's event before it.
        """
        letters = sorted(self._dead, key=lambda entry: (entry[0], entry[1].offset))
        owners: list[Identity | None] = []
        before: dict[tuple[int, Stream], tuple[int, int]] = {}
        for slot, letter in letters:
            owner = letter.identity
            if owner is not None:
                stream = owner.host_id, owner.session
                session = self._sessions[stream]
                row_seq = events.seq_before(slot, letter.offset, *stream)
                dead_seq = before.get((slot, stream), (0, -1))[1]
                expected = max(session.seen_stop - 1 if row_seq is None else row_seq, dead_seq) + 1
                if owner.seq == expected and owner.seq not in session.seen:
                    before[slot, stream] = letter.offset, owner.seq
                else:
                    owner = None
            owners.append(owner)
        written = self._insert_dead([letter for _, letter in letters], owners)
        for (slot, letter), owner in zip(letters, owners, strict=True):
            if (letter.topic, letter.partition, letter.offset) not in written:
                self._tallies[slot].duplicates += 1  # read again: it lies in dead_letters already
                continue
            self._tallies[slot].dead += 1
            if owner is not None:
                session = self._sessions[owner.host_id, owner.session]
                session.tally.dead += 1
                session.settled.append((owner.seq, owner.seq + 1))

    def _insert_dead(
        self, letters: list[DeadLetter], owners: list[Identity | None]
    ) -> set[tuple[str, int, int]]:
        if not letters:
            return set()
        columns: dict[str, list[object]] = defaultdict(list)
        for letter, owner in zip(letters, owners, strict=True):
            columns["topics"].append(letter.topic)
            columns["topic_ids"].append(self._claims[letter.topic, letter.partition].topic_id)
            columns["partitions"].append(letter.partition)
            columns["offsets"].append(letter.offset)
            columns["keys"].append(letter.key)
            columns["values"].append(letter.value)
            columns["schemas"].append(schema_text(letter.schema))
            columns["reasons"].append(letter.reason.value)
            columns["details"].append(letter.detail.replace("\0", "\\0")[:2000])
            columns["hosts"].append(owner and owner.host_id)
            columns["sessions"].append(owner and owner.session)
            columns["seqs"].append(owner and owner.seq)
        rows = self._database.rows(statement("insert_dead_letters"), dict(columns))
        return {(topic, partition, offset) for topic, partition, offset in rows}

    def _store_report(self, report: dict[str, object]) -> None:
        values = dict(report)
        for name in ("operations", "lost", "uncovered"):
            values[name] = as_json(values[name])
        self._database.rows(statement("store_report"), values)

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
