"""A batch: consecutive messages of several partitions, and what decoding makes of them.

Pure but for the schema lookup. A message ends up in exactly one place: a row of ``events``, an
entry of ``reports``, or a dead letter.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fsmon_schemas import Schema
from fsmon_schemas.framing import SchemaRef, split_frame
from fsmon_schemas.registry import UnknownSchemaError

from fsmon_consumer.columns import BlockReader
from fsmon_consumer.dead_letters import (
    HOST_ID_BYTES,
    DeadLetter,
    Identity,
    Reason,
    identity_of,
    schema_text,
)
from fsmon_consumer.groups import Group, Groups
from fsmon_consumer.layout import SchemaMismatchError
from fsmon_consumer.place import Place
from fsmon_consumer.reports import ReportError, read_report
from fsmon_consumer.sieve import sift
from fsmon_consumer.table import EventTable, Part

_log = logging.getLogger(__name__)


@dataclass
class LogSlice:
    """Consecutive messages of one partition, as three lists of equal length.

    ``generation`` counts this worker's assignments of the partition: a slice read under an older
    one is worthless. ``leader_epoch`` is that of its newest message.
    """

    topic: str
    partition: int
    generation: int
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    leader_epoch: int | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def place(self) -> Place:
        """Where the messages are from."""
        return self.topic, self.partition

    def cut(self, start: int, stop: int) -> "LogSlice":
        """The messages at these positions."""
        return LogSlice(
            self.topic,
            self.partition,
            self.generation,
            self.keys[start:stop],
            self.values[start:stop],
            self.offsets[start:stop],
            self.leader_epoch,
        )


@dataclass
class Batch:
    """Decoded messages. ``slot`` in events, reports and dead is the index into ``slices``."""

    slices: list[LogSlice]
    events: EventTable
    reports: list[tuple[int, dict[str, Any]]]
    dead: list[tuple[int, DeadLetter]]

    def __len__(self) -> int:
        return sum(map(len, self.slices))


class Decoder:
    """Makes batches of log slices; keeps one block reader a writer schema."""

    def __init__(self, reports_topic: str, find_schema: Callable[[SchemaRef], Schema]) -> None:
        """``find_schema`` raises UnknownSchemaError, or a RetryableError, which passes through."""
        self._reports_topic = reports_topic
        self._find_schema = find_schema
        self._readers: dict[SchemaRef, BlockReader] = {}

    def decode(self, slices: Sequence[LogSlice], latest: datetime) -> Batch:
        """Sort every message of ``slices`` into rows, reports and dead letters.

        An event after ``latest`` is refused: a clock that far ahead would make partitions that
        retention never reaches.
        """
        batch = Batch(list(slices), EventTable.build([]), [], [])
        parts: list[Part] = []
        for group in self._group(batch):
            try:
                reader = self._reader(group.ref)
            except (UnknownSchemaError, SchemaMismatchError) as error:
                known = isinstance(error, SchemaMismatchError)
                reason = Reason.WRONG_SCHEMA if known else Reason.UNKNOWN_SCHEMA
                for index in range(len(group.bodies)):
                    self._bury(batch, group, index, reason, str(error))
                continue
            sound, bad = sift(group, reader, self._find_schema(group.ref))
            parts += sound
            for index, reason, detail in bad:
                self._bury(batch, group, index, reason, detail)
        events, refused = EventTable.build(parts).split_unstorable(latest)
        batch.events = events
        for check, rows in refused:
            self._bury_rows(batch, rows, Reason(check))
        return batch

    def _reader(self, ref: SchemaRef) -> BlockReader:
        if ref not in self._readers:
            reader = self._readers[ref] = BlockReader(self._find_schema(ref))
            if reader.dropped:
                _log.warning(
                    "%s has fields that are not stored: %s; a newer fsmon-consumer may know them",
                    schema_text(ref), ", ".join(reader.dropped),
                )  # fmt: skip
        return self._readers[ref]

    def _group(self, batch: Batch) -> Iterable[Group]:
        groups = Groups()
        for slot, piece in enumerate(batch.slices):
            if piece.topic == self._reports_topic:
                self._read_reports(batch, slot, piece)
                continue
            for index, error in groups.add(slot, piece.keys, piece.values, piece.offsets):
                letter = DeadLetter(
                    *piece.place,
                    piece.offsets[index],
                    piece.keys[index],
                    piece.values[index],
                    None,
                    Reason.FRAMING,
                    str(error),
                )
                batch.dead.append((slot, letter))
        return groups

    def _read_reports(self, batch: Batch, slot: int, piece: LogSlice) -> None:
        for key, value, offset in zip(piece.keys, piece.values, piece.offsets, strict=True):
            try:
                batch.reports.append((slot, read_report(key, value, self._find_schema)))
            except ReportError as error:
                letter = DeadLetter(*piece.place, offset, key, value, error.ref, error.reason, str(error))
                batch.dead.append((slot, letter))

    def _bury(self, batch: Batch, group: Group, index: int, reason: Reason, detail: str) -> None:
        slot, body, key = group.slots[index], group.bodies[index], group.keys[index]
        piece = batch.slices[slot]
        identity = None if reason in {Reason.WRONG_SCHEMA, Reason.UNKNOWN_SCHEMA} else identity_of(body, key)
        letter = DeadLetter(
            *piece.place, group.offsets[index], key, group.prefix + body, group.ref, reason, detail, identity
        )
        batch.dead.append((slot, letter))

    def _bury_rows(self, batch: Batch, rows: EventTable, reason: Reason) -> None:
        details = {
            Reason.HOST_ID: f"host_id is empty or longer than {HOST_ID_BYTES} bytes",
            Reason.NEGATIVE: "session or seq is below 0",
            Reason.RANGE: "no seq follows this one",
            Reason.TIME: "a time before 1970 or too far ahead of this consumer's clock",
            Reason.NUL: "a text holds U+0000",
        }
        for slot, offset, host_id, session, seq in rows.places():
            identity = Identity(host_id, session, seq)
            letter = letter_of(
                batch.slices[slot], offset, identity if identity.fits else None, reason, details[reason]
            )
            batch.dead.append((slot, letter))


def letter_of(
    piece: LogSlice, offset: int, identity: Identity | None, reason: Reason, detail: str
) -> DeadLetter:
    """The dead letter of a message that had decoded."""
    index = bisect_left(piece.offsets, offset)
    value = piece.values[index]
    ref = split_frame(value or b"")[0]
    return DeadLetter(*piece.place, offset, piece.keys[index], value, ref, reason, detail, identity)


def refuse(batch: Batch, detail: str, *, named: bool) -> Batch:
    """The batch of one message that was refused, as a dead letter; unless ``named`` it is of no session."""
    refused = Batch(batch.slices, EventTable.build([]), [], [])
    for slot, letter in batch.dead:
        refused.dead.append((slot, letter if named else replace(letter, identity=None)))
    for slot, offset, host_id, session, seq in batch.events.places():
        identity = Identity(host_id, session, seq) if named else None
        letter = letter_of(batch.slices[slot], offset, identity, Reason.REFUSED, detail)
        refused.dead.append((slot, letter))
    for slot, report in batch.reports:
        piece = batch.slices[slot]
        letter = letter_of(piece, piece.offsets[0], None, Reason.REFUSED, f"{detail}: {report}")
        refused.dead.append((slot, letter))
    return refused
