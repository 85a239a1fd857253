"""Client CPU per row, of the same messages into the same table by two ways.

columnar: all that the consumer does from message values to COMMIT (frames, checks, ledger, COPY).
reference: fastavro and psycopg's write_row in binary, with no check and no ledger.
The database must be migrated; its rows are deleted.
"""

import io
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import fastavro
import psycopg
from fsmon_consumer import claims
from fsmon_consumer.batch import Decoder, LogSlice
from fsmon_consumer.claims import Claim, LogBounds
from fsmon_consumer.flush import flush
from fsmon_consumer.layout import COLUMNS, COPY_COLUMNS
from fsmon_consumer.partitions import create
from fsmon_consumer.registry import WriterSchemas
from fsmon_consumer.store import Database
from fsmon_schemas import FILE_EVENT
from fsmon_schemas.framing import single_object_prefix, split_frame
from simulated_host import SimulatedHost

_BATCH = 20_000
_TYPES = {"timestamp with time zone": "timestamptz", "bigint": "int8", "boolean": "bool"}


def slices(rows: int) -> list[LogSlice]:
    """Batches of one partition from 16 hosts that take turns."""
    frame, start = single_object_prefix(FILE_EVENT), int(time.time() * 1e6)
    hosts = [SimulatedHost(f"cost-{number}", number + 1, frame, start) for number in range(16)]
    made = []
    for first in range(0, rows, _BATCH):
        piece = LogSlice("events", 0, 1)
        for host in hosts:
            values = list(host.messages(_BATCH // 16))
            piece.values += values
            piece.keys += [host.key] * len(values)
        piece.offsets += range(first, first + len(piece.values))
        made.append(piece)
    return made


def measured(dsn: str, name: str, work: Callable[[], None], rows: int) -> float:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE file_events, streams, offsets")
    wall, burnt = time.perf_counter(), time.process_time()
    work()
    wall, burnt = time.perf_counter() - wall, time.process_time() - burnt
    with psycopg.connect(dsn) as connection:
        [stored] = connection.execute("SELECT count(*) FROM file_events").fetchone() or [0]
    assert stored == rows, (stored, rows)
    print(f"{name:<10} {burnt / rows * 1e6:6.2f} us CPU a row, {rows / wall:>9,.0f} rows/s")
    return burnt / rows * 1e6


def columnar(dsn: str, pieces: list[LogSlice]) -> None:
    database = Database(dsn, role="cost")
    database.connect()
    decoder, now = Decoder("reports", WriterSchemas(None).find), datetime.now(UTC)
    held = claims.claim(
        database,
        ("events", 0),
        LogBounds("id", 0, 1 << 40),
        worker="cost",
        takeover_after=timedelta(seconds=5),
    )
    for piece in pieces:
        batch = decoder.decode([piece], now + timedelta(days=1))
        flushed = flush(database, batch, {("events", 0): held}, now - timedelta(days=30))
        held = Claim(held.topic_id, held.epoch, flushed.next_offsets["events", 0])
    database.close()


def reference(dsn: str, pieces: list[LogSlice]) -> None:
    query = (
        "COPY file_events ("
        + ", ".join(f'"{name}"' for name in COPY_COLUMNS)
        + ") FROM STDIN (FORMAT BINARY)"
    )
    types = [_TYPES.get(column.sql, column.sql) for column in COLUMNS]
    with psycopg.connect(dsn) as connection:
        for piece in pieces:
            with connection.cursor().copy(query) as copy:
                copy.set_types(types)
                for value in piece.values:
                    assert value is not None
                    _, start = split_frame(value)
                    record = fastavro.schemaless_reader(io.BytesIO(value[start:]), FILE_EVENT.parsed, None)
                    assert isinstance(record, dict)
                    copy.write_row(tuple(record.values()))
            connection.commit()


def compare(dsn: str, rows: int) -> None:
    """Print both ways' figures for ``rows`` rows, and leave the tables empty."""
    database = Database(dsn, role="cost")
    database.connect()
    now = datetime.now(UTC)
    create(database, [now, now + timedelta(hours=1)])
    database.close()
    pieces = slices(rows)
    measured(dsn, "warm-up", lambda: columnar(dsn, pieces[:1]), _BATCH)
    ours = measured(dsn, "columnar", lambda: columnar(dsn, pieces), rows)
    theirs = measured(dsn, "reference", lambda: reference(dsn, pieces), rows)
    print(f"the consumer takes {theirs / ours:.1f} times less client CPU")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE file_events, streams, offsets")
