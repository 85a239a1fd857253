"""The dead letters of a flush: written, and counted for the session each is known to belong to."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from fsmon_consumer.dead_letters import DeadLetter, Identity, schema_text
from fsmon_consumer.place import Place
from fsmon_consumer.sessions import Sessions, Stream
from fsmon_consumer.store import Database, as_text, statement
from fsmon_consumer.table import EventTable

Dead = Sequence[tuple[int, DeadLetter]]  # each with the slot of its log slice


def bury(
    database: Database, dead: Dead, events: EventTable, sessions: Sessions, topic_ids: Mapping[Place, str]
) -> Iterator[tuple[int, bool]]:
    """Write the letters; yields the slot of each, and False where it lay in the table already.

    One counts for its session only if it stands where its seq belongs. A damaged message may name any
    seq: believed, it would make the real event of that number a duplicate. So the seq has to be the one
    after its session's event before it.
    """
    letters = sorted(dead, key=lambda entry: (entry[0], entry[1].offset))
    owners: list[Identity | None] = []
    before: dict[tuple[int, Stream], int] = {}
    for slot, letter in letters:
        owner = letter.identity
        if owner is not None:
            stream = owner.host_id, owner.session
            session = sessions[stream]
            row_seq = events.seq_before(slot, letter.offset, *stream)
            reached = max(
                session.seen_stop - 1 if row_seq is None else row_seq, before.get((slot, stream), -1)
            )
            if owner.seq == reached + 1 and owner.seq not in session.seen:
                before[slot, stream] = owner.seq
            else:
                owner = None
        owners.append(owner)
    written = _insert(database, [letter for _, letter in letters], owners, topic_ids)
    for (slot, letter), owner in zip(letters, owners, strict=True):
        new = (letter.topic, letter.partition, letter.offset) in written
        if new and owner is not None:
            session = sessions[owner.host_id, owner.session]
            session.tally.dead += 1
            session.settled.append((owner.seq, owner.seq + 1))
        yield slot, new


def _insert(
    database: Database,
    letters: Sequence[DeadLetter],
    owners: Sequence[Identity | None],
    topic_ids: Mapping[Place, str],
) -> set[tuple[str, int, int]]:
    if not letters:
        return set()
    columns: dict[str, list[object]] = defaultdict(list)
    for letter, owner in zip(letters, owners, strict=True):
        columns["topics"].append(letter.topic)
        columns["topic_ids"].append(topic_ids[letter.topic, letter.partition])
        columns["partitions"].append(letter.partition)
        columns["offsets"].append(letter.offset)
        columns["keys"].append(letter.key)
        columns["values"].append(letter.value)
        columns["schemas"].append(schema_text(letter.schema))
        columns["reasons"].append(letter.reason.value)
        columns["details"].append(as_text(letter.detail[:2000]))
        columns["hosts"].append(owner and owner.host_id)
        columns["sessions"].append(owner and owner.session)
        columns["seqs"].append(owner and owner.seq)
    rows = database.rows(statement("insert_dead_letters"), dict(columns))
    return {(topic, partition, offset) for topic, partition, offset in rows}
