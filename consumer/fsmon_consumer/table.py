"""Decoded events as columns: checks, the questions the ledger asks, and the bytes for COPY."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import pgpq
import polars as pl
from fsmon_schemas import FatalError, FsmonError

from fsmon_consumer.columns import DTYPES
from fsmon_consumer.dead_letters import HOST_ID_BYTES, LAST
from fsmon_consumer.layout import COLUMNS, COPY_COLUMNS
from fsmon_consumer.store import RowRefusedError

_TEXTS = tuple(column.name for column in COLUMNS if column.avro == "string")
_TIMES = tuple(column.name for column in COLUMNS if column.avro == "timestamp-micros")
_STREAM = ["host_id", "session"]

_COPY_ROWS = 5_000  # rows a chunk, about 2 MB: larger ones encode no faster

# Rows of a block reader, the log slice (index in the batch) and the offset of each.
Part = tuple[pl.DataFrame, Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class StreamRows:
    """What a table holds of one session. ``stop`` is one above its highest seq."""

    host_id: str
    session: int
    slot: int
    rows: int
    first: int
    stop: int
    distinct: int
    last_time: datetime


class EventTable:
    """Decoded events with the place each came from: ``slot`` (index of the log slice) and offset."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self._streams: list[StreamRows] | None = None
        self._orders: dict[tuple[int, str, int], tuple[list[int], list[int]]] = {}

    @classmethod
    def build(cls, parts: Sequence[Part]) -> "EventTable":
        """Join parts of (rows, slots, offsets); no parts give an empty table."""
        frames = [
            frame.with_columns(
                pl.Series("_slot", slots, dtype=pl.Int32), pl.Series("_offset", offsets, dtype=pl.Int64)
            )
            for frame, slots, offsets in parts
        ]
        if not frames:
            schema = {column.name: DTYPES[column.avro] for column in COLUMNS}
            return cls(pl.DataFrame(schema=schema | {"_slot": pl.Int32(), "_offset": pl.Int64()}))
        return cls(pl.concat(frames) if len(frames) > 1 else frames[0])

    def __len__(self) -> int:
        return self._frame.height

    def _take_out(
        self, refused: Sequence[tuple[str, pl.Expr]]
    ) -> tuple["EventTable", list[tuple[str, "EventTable"]]]:
        """Split off, for each (name, condition) in order, the rows that meet it."""
        left, taken = self._frame, []
        for name, test in refused:
            condition = test.fill_null(value=False)  # a null would be in neither part
            out = left.filter(condition)
            if out.height:
                taken.append((name, EventTable(out)))
                left = left.filter(condition.not_())
        return EventTable(left), taken

    def split_unstorable(self, latest: datetime) -> tuple["EventTable", list[tuple[str, "EventTable"]]]:
        """Split off what PostgreSQL would refuse or nobody could find: by name of the check."""
        beyond = pl.any_horizontal(
            pl.col(name).is_between(datetime.fromtimestamp(0, latest.tzinfo), latest).not_()
            for name in _TIMES
        )
        return self._take_out(
            (
                ("host_id", pl.col("host_id").str.len_bytes().is_between(1, HOST_ID_BYTES).not_()),
                ("negative", (pl.col("session") < 0) | (pl.col("seq") < 0)),
                ("range", pl.col("seq") == LAST),
                ("time", beyond),
                ("nul", pl.any_horizontal(pl.col(name).str.contains("\0", literal=True) for name in _TEXTS)),
            )
        )

    def split_expired(self, cutoff: datetime) -> tuple["EventTable", "EventTable"]:
        """(rows at or after ``cutoff``, rows before it)."""
        if not len(self) or cast("datetime", self._frame.get_column("time").min()) >= cutoff:
            return self, EventTable(self._frame.clear())
        early = pl.col("time") < cutoff
        return EventTable(self._frame.filter(early.not_())), EventTable(self._frame.filter(early))

    def without_slots(self, slots: Sequence[int]) -> "EventTable":
        """Without the rows of these log slices."""
        return EventTable(self._frame.filter(pl.col("_slot").is_in(list(slots)).not_())) if slots else self

    def without_places(self, places: Collection[tuple[int, int]]) -> "EventTable":
        """Without the rows at these (slot, offset)."""
        if not places:
            return self
        schema = {"_slot": pl.Int32(), "_offset": pl.Int64()}
        gone = pl.DataFrame(list(places), schema=schema, orient="row")
        return EventTable(self._frame.join(gone, on=list(schema), how="anti"))

    def of_host(self, slot: int, host_id: str) -> list[tuple[int, int, int]]:
        """(offset, session, seq) of a host's rows in a log slice, in their order there."""
        rows = self._frame.filter((pl.col("_slot") == slot) & (pl.col("host_id") == host_id))
        return rows.select("_offset", "session", "seq").sort("_offset").rows()

    def moments(self) -> list[tuple[int, int, str, int, int, datetime, int]]:
        """As ``places``, each with the event's time and boot_time, which no other event of a host shares."""
        return self._frame.select("_slot", "_offset", *_STREAM, "seq", "time", "boot_time").rows()

    def without_same(self, others: "EventTable") -> "EventTable":
        """Without the rows that are the same event as one of ``others``: identity, time and boot_time."""
        return EventTable(
            self._frame.join(others._frame, on=[*_STREAM, "seq", "time", "boot_time"], how="anti")
        )

    def hours(self) -> list[datetime]:
        """Starts of the UTC hours that events fall into, sorted."""
        return self._frame.get_column("time").dt.truncate("1h").unique().sort().to_list()

    def places(self) -> list[tuple[int, int, str, int, int]]:
        """(slot, offset, host_id, session, seq) of each row: for few rows only."""
        return self._frame.select("_slot", "_offset", *_STREAM, "seq").rows()

    def slot_counts(self) -> dict[int, int]:
        """Rows by log slice."""
        if not len(self):
            return {}
        return dict(self._frame.group_by("_slot").len().rows())

    def streams(self) -> list[StreamRows]:
        """One entry a session, ordered by host_id and session."""
        if self._streams is None:
            self._streams = self._find_streams()
        return self._streams

    def _find_streams(self) -> list[StreamRows]:
        if not len(self):
            return []
        found = (
            self._frame.group_by(_STREAM)
            .agg(
                pl.col("_slot").first(),
                pl.len(),
                pl.col("seq").min().alias("first"),
                pl.col("seq").max().alias("last"),
                pl.col("seq").n_unique().alias("distinct"),
                pl.col("time").max(),
            )
            .sort(_STREAM)
        )
        return [
            StreamRows(host, session, slot, rows, first, last + 1, distinct, time)
            for host, session, slot, rows, first, last, distinct, time in found.rows()
        ]

    def split_repeated(
        self, streams: Sequence[tuple[str, int]], known: Sequence[tuple[str, int, int, int]]
    ) -> tuple["EventTable", "EventTable"]:
        """(new, repeated): of ``streams``, the rows whose seq is in ``known`` or came earlier in here.

        ``known`` holds (host_id, session, start, stop). Rows of other sessions are new unseen.
        """
        if not streams:
            return self, EventTable(self._frame.clear())
        types = {"host_id": pl.String, "session": pl.Int64}
        suspects = pl.DataFrame(list(streams), schema=types, orient="row")
        spans = pl.DataFrame(list(known), schema=types | {"start": pl.Int64, "_stop": pl.Int64}, orient="row")
        marked = (
            self._frame.join(suspects, on=_STREAM, how="semi")
            .sort("seq", maintain_order=True)
            .join_asof(
                spans.sort("start"), left_on="seq", right_on="start", by=_STREAM, check_sortedness=False
            )
            .with_columns(
                _repeated=(pl.col("seq") < pl.col("_stop")).fill_null(value=False)
                | pl.struct(*_STREAM, "seq").is_first_distinct().not_()
            )
        )
        fresh = marked.filter(pl.col("_repeated").not_()).select(self._frame.columns)
        others = self._frame.join(suspects, on=_STREAM, how="anti")
        return (
            EventTable(pl.concat([others, fresh])),
            EventTable(marked.filter("_repeated").select(self._frame.columns)),
        )

    def runs(self) -> list[tuple[str, int, int, int]]:
        """(host_id, session, start, stop) of every unbroken run of seqs, each seq being there once."""
        streams = self.streams()
        if all(found.rows == found.stop - found.first for found in streams):  # the rule: nothing to sort
            return [(found.host_id, found.session, found.first, found.stop) for found in streams]
        ordered = self._frame.select(*_STREAM, "seq").sort(*_STREAM, "seq")
        breaks = (pl.col("seq").diff() != 1) | (pl.col("host_id") != pl.col("host_id").shift())
        breaks = breaks | (pl.col("session") != pl.col("session").shift())
        return (
            ordered.with_columns(_run=breaks.fill_null(value=True).cum_sum())
            .group_by("_run", maintain_order=True)
            .agg(
                *(pl.col(name).first() for name in _STREAM),
                pl.col("seq").min().alias("a"),
                pl.col("seq").max() + 1,
            )
            .select(*_STREAM, "a", "seq")
            .rows()
        )

    def seq_before(self, slot: int, offset: int, host_id: str, session: int) -> int | None:
        """The seq of the session's nearest event before an offset of a log slice, or None."""
        key = slot, host_id, session
        if key not in self._orders:  # asked once a dead letter, and those may be all of a batch
            ours = self._frame.filter(
                (pl.col("_slot") == slot) & (pl.col("host_id") == host_id) & (pl.col("session") == session)
            ).sort("_offset")
            self._orders[key] = ours.get_column("_offset").to_list(), ours.get_column("seq").to_list()
        offsets, seqs = self._orders[key]
        index = bisect_left(offsets, offset)
        return seqs[index - 1] if index else None

    def copy_chunks(self) -> Iterator[bytes]:
        """The rows as PostgreSQL's binary COPY stream, in the order of COPY_COLUMNS."""
        table = self._frame.select(COPY_COLUMNS).to_arrow()
        refused: type[FsmonError] = FatalError  # the types of all; behind the header it is some row's values
        try:
            # One encoder a COPY: it keeps rows back until finish().
            encoder = pgpq.ArrowToPostgresBinaryEncoder(table.schema)
            yield encoder.write_header()
            refused = RowRefusedError
            for rows in table.to_batches(max_chunksize=_COPY_ROWS):
                yield encoder.write_batch(rows)
            yield encoder.finish()
        except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
            raise
        except BaseException as error:  # pgpq is Rust too: panics are no Exceptions
            raise refused(
                f"pgpq cannot encode rows: {type(error).__name__}: {error}; please report it"
            ) from error
