"""Dead letters looked at again: what can be read now is stored, the rest stays where it is.

A letter's message is taken out of every account and then flushed as if it had just been read, in one
transaction and under the locks that a worker's flush takes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby

from fsmon_consumer.batch import Batch, Decoder, LogSlice
from fsmon_consumer.claims import Claim
from fsmon_consumer.flush import flush
from fsmon_consumer.partitions import PartitionPlan
from fsmon_consumer.place import Place
from fsmon_consumer.sessions import Tally
from fsmon_consumer.store import Database, TransactionConflictError, statement

_AT_ONCE = 1000  # letters of a transaction: workers of these partitions wait meanwhile
_TRIES = 5


@dataclass(frozen=True)
class Letter:
    """One row of dead_letters; ``name`` is what people call it by."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    schema: str | None
    reason: str
    detail: str
    host_id: str | None
    session: int | None
    seq: int | None
    stored_at: datetime

    @property
    def name(self) -> str:
        """Topic, partition and offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True)
class Selection:
    """Which letters; None is no condition. ``before``: those that were stored earlier."""

    names: Sequence[str] | None = None
    reasons: Sequence[str] | None = None
    keys: Sequence[bytes] | None = None
    before: datetime | None = None


@dataclass
class Replayed:
    """What became of replayed letters, and why those that stay are still dead."""

    tally: Tally = field(default_factory=Tally)
    still: dict[str, int] = field(default_factory=dict)


def select(database: Database, wanted: Selection, limit: int | None = None) -> list[Letter]:
    """The letters of the selection, oldest first."""
    conditions: dict[str, object] = {
        "names": wanted.names,
        "reasons": wanted.reasons,
        "keys": wanted.keys,
        "before": wanted.before,
        "limit": limit,
    }
    return [Letter(*row) for row in database.rows(statement("select_dead_letters"), conditions)]


def purge(database: Database, letters: Sequence[Letter]) -> int:
    """Delete them for good; they stay counted as dead."""
    return len(database.rows(statement("purge_dead_letters"), _places(letters)))


class Replay:
    """Stores what can be stored now. ``latest``: as for ``Decoder.decode``."""

    def __init__(
        self, database: Database, decoder: Decoder, *, retention: timedelta, latest: datetime
    ) -> None:
        self._database = database
        self._decoder = decoder
        self._latest = latest
        self._expire_before = datetime.now(UTC) - retention
        self._plan = PartitionPlan(ahead=0, retention=retention)

    def run(self, letters: Iterable[Letter]) -> Replayed:
        """Each log's letters in its order; what is done stays done if a later one fails."""
        result = Replayed()
        ordered = sorted(letters, key=lambda each: (*_log(each), each.offset))
        for _, group in groupby(ordered, key=_log):
            of_one_log = list(group)
            for start in range(0, len(of_one_log), _AT_ONCE):
                self._replay(of_one_log[start : start + _AT_ONCE], result)
        return result

    def _replay(self, letters: list[Letter], result: Replayed) -> None:
        tried = self._decoder.decode([_slice(letters)], self._latest)
        still = {letter.offset: letter.reason.value for _, letter in tried.dead}
        for reason in still.values():
            result.still[reason] = result.still.get(reason, 0) + 1
        sound = [letter for letter in letters if letter.offset not in still]
        if not sound:
            return
        batch = self._decoder.decode([_slice(sound)], self._latest)
        self._plan.ensure(self._database, batch.events.split_expired(self._expire_before)[0].hours())
        for attempt in range(1, _TRIES + 1):
            try:
                tally = self._flush(sound, batch)
            except TransactionConflictError:
                if attempt == _TRIES:
                    raise
            else:
                break
        for outcome, number in asdict(tally).items():
            result.tally.count(outcome, number)

    def _flush(self, letters: list[Letter], batch: Batch) -> Tally:
        place: Place = letters[0].topic, letters[0].partition
        with self._database.transaction():
            fenced = self._database.rows(statement("fence"), {"topics": [place[0]], "partitions": [place[1]]})
            held = {(topic, partition): Claim(*claim) for topic, partition, *claim in fenced}
            gone = self._database.rows(statement("undo_dead_letters"), _places(letters))
            if len(gone) < len(letters):
                raise TransactionConflictError("others have replayed or purged some of these dead letters")
            flushed = flush(
                self._database, batch, held, self._expire_before, replayed_from=letters[0].topic_id
            )
            return flushed.tallies[place]


def _log(letter: Letter) -> tuple[str, int, str]:
    return letter.topic, letter.partition, letter.topic_id


def _slice(letters: Sequence[Letter]) -> LogSlice:
    return LogSlice(
        letters[0].topic,
        letters[0].partition,
        0,
        [letter.key for letter in letters],
        [letter.value for letter in letters],
        [letter.offset for letter in letters],
    )


def _places(letters: Sequence[Letter]) -> dict[str, object]:
    return {
        "topics": [letter.topic for letter in letters],
        "topic_ids": [letter.topic_id for letter in letters],
        "partitions": [letter.partition for letter in letters],
        "offsets": [letter.offset for letter in letters],
    }
