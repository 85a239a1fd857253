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
from fsmon_consumer.ledger import Ranges
from fsmon_consumer.store import Database, as_json, statement
from fsmon_consumer.table import EventTable

Place = tuple[str, int]
Stream = tuple[str, int]
_COPY = (
    "COPY file_events (" + ", ".join(f'"{name}"' for name in COPY_COLUMNS) + ") FROM STDIN (FORMAT BINARY)"
)


@dataclass
class Tally:
    """What became of the messages of a partition, or of the events of a session."""

    stored: int = 0
    duplicates: int = 0
    dead: int = 0
    expired: int = 0


@dataclass
class Flushed:
    """The outcome of a flush: where the committed partitions go on, and which were not ours any more."""

    next_offsets: dict[Place, int] = field(default_factory=dict)
    tallies: dict[Place, Tally] = field(default_factory=dict)
    fenced: set[Place] = field(default_factory=set)


@dataclass
class _Session:
    """A session as the ledger holds it, and what this flush adds."""

    partition: int
    seen: Ranges
    seen_stop: int
    last_time: datetime | None
    tally: Tally = field(default_factory=Tally)
    settled: list[tuple[int, int]] = field(default_factory=list)
    newest: datetime | None = None


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
        self._sessions: dict[Stream, _Session] = {}

    def run(self) -> Flushed:
        batch, result = self._batch, Flushed()
        self._database.rows("SET LOCAL lock_timeout = '10s'")
        lost = self._fence()
        result.fenced = {batch.slices[slot].place for slot in lost}
        kept = [slot for slot in range(len(batch.slices)) if slot not in lost]
        if not kept:
            return result
        batch.dead = [entry for entry in batch.dead if entry[0] not in lost]
        events = batch.events.without_slots(sorted(lost))
        self._lock_sessions(events)
        fresh = self._settle_events(events)
        self._settle_dead(events)
        self._write_sessions()
        for slot, report in batch.reports:
            if slot not in lost:
                self._store_report(report)
                self._tallies[slot].stored += 1
        for slot in kept:
            piece = batch.slices[slot]
            result.next_offsets[piece.place] = piece.offsets[-1] + 1
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
        opened = sorted(partitions)
        self._database.rows(
            statement("open_streams"),
            {
                "hosts": [host for host, _ in opened],
                "sessions": [session for _, session in opened],
                "partitions": [partitions[stream] for stream in opened],
            },
        )
        for slot, letter in self._batch.dead:
            if letter.identity is not None:
                stream, seq = (letter.identity.host_id, letter.identity.session), letter.identity.seq
                first, stop = spans.get(stream, (seq, seq + 1))
                spans[stream] = min(first, seq), max(stop, seq + 1)
                partitions.setdefault(stream, self._batch.slices[slot].partition)
        wanted = sorted(spans)
        locked = self._database.rows(
            statement("lock_streams"),
            {
                "hosts": [host for host, _ in wanted],
                "sessions": [session for _, session in wanted],
                "firsts": [spans[stream][0] for stream in wanted],
                "stops": [spans[stream][1] for stream in wanted],
            },
        )
        for stream in wanted:  # a session known only from dead letters has no row yet
            self._sessions[stream] = _Session(partitions[stream], Ranges(), 0, None)
        for host, session, seen, seen_stop, last_time in locked:
            found = self._sessions[host, session]
            found.seen, found.seen_stop, found.last_time = Ranges.parse(seen), seen_stop, last_time

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
                self._count(self._tallies[slot], outcome, count)
            for rows in part.streams():
                self._count(self._sessions[rows.host_id, rows.session].tally, outcome, rows.rows)
        return fresh

    @staticmethod
    def _count(tally: Tally, outcome: str, number: int) -> None:
        setattr(tally, outcome, getattr(tally, outcome) + number)

    def _settle_dead(self, events: EventTable) -> None:
        """Write the dead letters. One counts for its session only if it stands where its seq belongs.

        A damaged message may name any seq: believed, it would make the real event of that number
        a duplicate. So the seq has to be the one after its session's event before it.
        """
        letters = sorted(self._batch.dead, key=lambda entry: (entry[0], entry[1].offset))
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

    def _write_sessions(self) -> None:
        touched = sorted(stream for stream, found in self._sessions.items() if found.tally != Tally())
        found = [self._sessions[stream] for stream in touched]
        self._database.rows(
            statement("settle_streams"),
            {
                "hosts": [host for host, _ in touched],
                "sessions": [session for _, session in touched],
                "partitions": [each.partition for each in found],
                "seen": [Ranges.of(each.settled).text() for each in found],
                "stored": [each.tally.stored for each in found],
                "duplicates": [each.tally.duplicates for each in found],
                "dead": [each.tally.dead for each in found],
                "expired": [each.tally.expired for each in found],
                "last_times": [each.newest for each in found],
            },
        )

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
                "messages": [len(piece) for piece in pieces],
                "stored": [tally.stored for tally in tallies],
                "duplicates": [tally.duplicates for tally in tallies],
                "dead": [tally.dead for tally in tallies],
                "expired": [tally.expired for tally in tallies],
            },
        )
