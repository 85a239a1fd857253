"""Streaks of messages that their schema cannot read: a bad deploy, told apart from bad messages.

A single bad message never stops anything. But when every message of one writer schema fails (a registry
that is not the producers', an older consumer, a producer gone wrong), its partition is paused before the
topic has been emptied into the dead letters.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from fsmon_schemas import FramingError
from fsmon_schemas.framing import SchemaRef, split_frame

from fsmon_consumer.batch import Batch, LogSlice
from fsmon_consumer.dead_letters import DeadLetter, Reason, schema_text
from fsmon_consumer.place import Place

_REMEDY = (
    "check --registry (it has to be the producers'), what was deployed last, and whether a newer "
    "fsmon-consumer is needed. From here on nothing of the partition was stored, and it is read again every "
    "minute; with a larger --pause-after such messages go to the dead letters"
)
_OF_THE_SCHEMA = {Reason.UNKNOWN_SCHEMA, Reason.WRONG_SCHEMA, Reason.UNDECODABLE}


@dataclass(frozen=True)
class Streak:
    """Where in its slice a streak that is too long begins, and what to tell of it."""

    index: int
    why: str


@dataclass
class Outlook:
    """What a batch adds: streaks too long, by slot of the batch, and how long the others are now."""

    too_long: dict[int, Streak] = field(default_factory=dict)
    lengths: dict[Place, dict[SchemaRef, int]] = field(default_factory=dict)

    def before(self, slices: Sequence[LogSlice]) -> list[LogSlice]:
        """What of the batch's ``slices`` lies before the streaks that are too long."""
        kept = [
            piece.cut(0, self.too_long[slot].index) if slot in self.too_long else piece
            for slot, piece in enumerate(slices)
        ]
        return [piece for piece in kept if len(piece)]

    def reasons(self, slices: Sequence[LogSlice]) -> dict[Place, str]:
        """Why to pause, of each partition to be paused."""
        return {slices[slot].place: streak.why for slot, streak in self.too_long.items()}


class Streaks:
    """Failures in a row, by partition and writer schema, over the borders of batches.

    ``look`` tells and changes nothing, for a batch may be decoded again; ``keep`` is for when it is stored.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lengths: dict[Place, dict[SchemaRef, int]] = {}

    def look(self, batch: Batch) -> Outlook:
        """What this batch would make of the streaks."""
        failed: dict[int, dict[int, DeadLetter]] = {}
        for slot, letter in batch.dead:
            if letter.reason in _OF_THE_SCHEMA:
                failed.setdefault(slot, {})[letter.offset] = letter
        found = Outlook()
        for slot, piece in enumerate(batch.slices):
            if slot in failed or self._lengths.get(piece.place):
                self._follow(slot, piece, failed.get(slot, {}), found)
        return found

    def keep(self, outlook: Outlook, stored: Container[Place]) -> None:
        """The batch's messages of the partitions ``stored`` were."""
        self._lengths |= {place: lengths for place, lengths in outlook.lengths.items() if place in stored}

    def _follow(self, slot: int, piece: LogSlice, failed: dict[int, DeadLetter], found: Outlook) -> None:
        lengths = dict(self._lengths.get(piece.place, {}))
        begun: dict[SchemaRef, int] = {}
        for index, ref in enumerate(_refs(piece.values)):
            if ref is None:
                continue
            letter = failed.get(piece.offsets[index])
            if letter is None:
                lengths.pop(ref, None)
                begun.pop(ref, None)
                continue
            lengths[ref] = lengths.get(ref, 0) + 1
            begun.setdefault(ref, index)
            if lengths[ref] >= self._limit:
                why = (
                    f"{lengths[ref]} messages in a row of {schema_text(ref)} could not be read, the last: "
                    f"{letter.detail}; {_REMEDY}"
                )
                found.too_long[slot] = Streak(begun[ref], why)
                return
        found.lengths[piece.place] = lengths


def _refs(values: Iterable[bytes | None]) -> Iterable[SchemaRef | None]:
    for value in values:
        try:
            yield split_frame(value or b"")[0]
        except FramingError:
            yield None
