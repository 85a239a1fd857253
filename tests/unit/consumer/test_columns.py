"""The columnar path against fastavro: the same values for sound records, no row for others."""

import json
import random
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fsmon_consumer.columns import BlockError, BlockReader
from fsmon_consumer.layout import COLUMNS, COPY_COLUMNS, SchemaMismatchError
from fsmon_consumer.records import decode
from fsmon_consumer.table import EventTable
from fsmon_schemas import FILE_EVENT, Schema
from fsmon_schemas.framing import single_object_prefix
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_host import SimulatedHost, encode

FRAME = single_object_prefix(FILE_EVENT)
START = 1_795_000_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
READER = BlockReader(FILE_EVENT)


def host(name: str = "host-1") -> SimulatedHost:
    return SimulatedHost(name, 77, FRAME, START)


def bodies(count: int, of: SimulatedHost | None = None) -> list[bytes]:
    return [message[len(FRAME) :] for message in (of or host()).messages(count)]


def table(records: list[bytes], key: bytes = b"host-1") -> EventTable:
    frame = READER.read(records, [key] * len(records))
    return EventTable.build([(frame, [0] * len(records), list(range(len(records))))])


def random_value(dice: random.Random, column: Any) -> Any:
    if column.nullable and dice.random() < 0.5:
        return None
    match column.avro:
        case "string":
            return dice.choice(["", "a", "é" * 40, "p" * 4095, "\U0001f600/x"])
        case "bytes":
            return dice.randbytes(dice.choice([0, 1, 64, 4095]))
        case "boolean":
            return dice.random() < 0.5
        case "timestamp-micros":
            return dice.randrange(4_000_000_000_000_000)
        case "enum":
            [declared] = [f for f in FILE_EVENT.declared["fields"] if f["name"] == column.name]
            return dice.choice(declared["type"]["symbols"])
    return dice.choice([0, -1, (1 << 63) - 1, -(1 << 63), 4294967294, dice.randrange(1 << 40)])


def test_the_same_values_as_fastavro_for_random_records() -> None:
    dice = random.Random(5)
    records = [
        {column.name: random_value(dice, column) for column in COLUMNS} | {"host_id": "host-1"}
        for _ in range(2000)
    ]
    encoded = [encode(FILE_EVENT, record) for record in records]
    read = READER.read(encoded, [b"host-1"] * len(encoded)).to_dicts()
    assert read == [decode(FILE_EVENT, body) for body in encoded]


def test_the_simulated_hosts_send_what_they_say() -> None:
    simulated = host()
    for seq, row in enumerate(READER.read(bodies(1200, simulated), [b"host-1"] * 1200).to_dicts()):
        expected = simulated.event(seq)
        assert row == expected | {"time": EPOCH + timedelta(microseconds=expected["time"])}


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_mutated_record_never_harms_its_neighbours(data: st.DataObject) -> None:
    """Either the block is refused, or every other row is what was sent."""
    records = bodies(9)
    sound = READER.read(records, [b"host-1"] * 9).rows()
    victim = data.draw(st.integers(0, 8))
    body = bytearray(records[victim])
    match data.draw(st.sampled_from(["flip", "cut", "grow", "noise"])):
        case "flip":
            bit = data.draw(st.integers(0, len(body) * 8 - 1))
            body[bit // 8] ^= 1 << bit % 8
        case "cut":
            del body[data.draw(st.integers(0, len(body) - 1)) :]
        case "grow":
            body += data.draw(st.binary(min_size=1, max_size=20))
        case _:
            body = bytearray(data.draw(st.binary(max_size=200)))
    records[victim] = bytes(body)
    try:
        read = READER.read(records, [b"host-1"] * 9).rows()
    except BlockError:
        return
    assert [row for index, row in enumerate(read) if index != victim] == [
        row for index, row in enumerate(sound) if index != victim
    ]


def test_a_foreign_key_is_refused() -> None:
    for key in (b"host-2", None, b"", b"\xff"):
        with pytest.raises(BlockError, match="key"):
            READER.read(bodies(3), [b"host-1", key, b"host-1"])


def older(without: set[str], extra: list[dict[str, Any]] | None = None) -> Schema:
    declared = json.loads(FILE_EVENT.text)
    declared["fields"] = [f for f in declared["fields"] if f["name"] not in without] + (extra or [])
    return Schema(json.dumps(declared))


def test_an_older_and_a_newer_writer_are_read() -> None:
    record = host().event(3)
    older_schema = older({"count", "last_time", "hook"})
    newer_schema = older(set(), [{"name": "colour", "type": "string", "default": "red"}])
    [old] = BlockReader(older_schema).read([encode(older_schema, record)], [b"host-1"]).to_dicts()
    assert (old["count"], old["last_time"], old["hook"]) == (1, None, "unknown")
    reader = BlockReader(newer_schema)
    [new] = reader.read([encode(newer_schema, record | {"colour": "blue"})], [b"host-1"]).to_dicts()
    assert tuple(new) == COPY_COLUMNS
    assert reader.dropped == ("colour",)


@pytest.mark.parametrize(
    "schema",
    [
        Schema('{"type": "record", "name": "Other", "fields": []}'),
        Schema('{"type": "enum", "name": "FileEvent", "symbols": ["a"]}'),
        older({"seq"}),
        older({"pid"}, [{"name": "pid", "type": "string"}]),
        older(set(), [{"name": "tags", "type": {"type": "map", "values": "string"}}]),
    ],
)
def test_a_schema_of_something_else_is_refused(schema: Schema) -> None:
    with pytest.raises(SchemaMismatchError):
        BlockReader(schema)


def test_unstorable_rows_are_split_off() -> None:
    simulated, latest = host(), EPOCH + timedelta(microseconds=START) + timedelta(days=1)
    bad: dict[int, dict[str, object]] = {
        2: {"path": "/a\0b"},
        3: {"seq": -1},
        4: {"time": START + 2 * 86_400_000_000},
        5: {"time": -1},
        6: {"last_time": (1 << 62)},
        7: {"session": -5},
    }
    records = [encode(FILE_EVENT, simulated.event(seq) | bad.get(seq, {})) for seq in range(9)]
    left, refused = table(records).split_unstorable(latest)
    assert sorted(offset for _, offset, *_ in left.places()) == [0, 1, 8]
    assert {name: [place[1] for place in rows.places()] for name, rows in refused} == {
        "negative": [3, 7],
        "time": [4, 5, 6],
        "nul": [2],
    }


@given(st.lists(st.integers(0, 40), max_size=60), st.sets(st.integers(0, 40)))
@settings(deadline=None, max_examples=60)
def test_repeated_rows_are_found(seqs: list[int], known: set[int]) -> None:
    simulated = host()
    rows = table([encode(FILE_EVENT, simulated.event(seq)) for seq in seqs])
    new, repeated = rows.split_repeated([("host-1", 77)], [("host-1", 77, seq, seq + 1) for seq in known])
    assert sorted(place[4] for place in new.places()) == sorted(set(seqs) - known)
    assert len(repeated) == len(seqs) - len(new)
    covered = [seq for _, _, start, stop in new.runs() for seq in range(start, stop)]
    assert covered == sorted(set(seqs) - known)
    assert all(stop not in covered for _, _, _, stop in new.runs())


def test_streams_hours_and_expiry() -> None:
    simulated = host()
    hour = 3_600_000_000
    times = [START, START + hour, START + hour, START + 5 * hour]
    rows = table(
        [encode(FILE_EVENT, simulated.event(seq) | {"time": moment}) for seq, moment in enumerate(times)]
    )
    [stream] = rows.streams()
    assert (stream.rows, stream.first, stream.stop, stream.distinct) == (4, 0, 4, 4)
    assert len(rows.hours()) == 3
    kept, expired = rows.split_expired(EPOCH + timedelta(microseconds=START + hour))
    assert (len(kept), [place[4] for place in expired.places()]) == (3, [0])
    assert rows.seq_before(0, 2, "host-1", 77) == 1
    assert rows.seq_before(0, 0, "host-1", 77) is None


def copied(stream: bytes) -> Iterator[list[bytes | None]]:
    """PostgreSQL manual, COPY, "Binary Format"."""
    position = 19
    while (fields := struct.unpack_from(">h", stream, position)[0]) >= 0:
        position += 2
        row: list[bytes | None] = []
        for _ in range(fields):
            (length,) = struct.unpack_from(">i", stream, position)
            position += 4
            row.append(stream[position : position + length] if length >= 0 else None)
            position += max(length, 0)
        yield row


@pytest.mark.parametrize("rows", [1, 2, 4_999, 5_001])
def test_a_copy_stream_is_whole_whatever_came_before(rows: int) -> None:
    for _ in range(2):
        assert len(list(copied(b"".join(table(bodies(rows)).copy_chunks())))) == rows


def test_copy_bytes_hold_every_row_and_null() -> None:
    simulated = host()
    rows = list(copied(b"".join(table(bodies(25_000, simulated)).copy_chunks())))
    assert len(rows) == 25_000
    for seq in (0, 9_999, 10_000, 24_999):
        row, event = dict(zip(COPY_COLUMNS, rows[seq], strict=True)), simulated.event(seq)
        assert row["path"] == event["path"].encode()
        assert row["seq"] == struct.pack(">q", seq)
        assert row["inode"] == struct.pack(">q", event["inode"])
        assert (row["target_path"] is None) == (event["target_path"] is None)


@pytest.mark.parametrize("time", [(1 << 63) - 1, 1 << 62, -(1 << 63)])
def test_a_second_record_with_a_time_beyond_pythons_is_refused(time: int) -> None:
    """Where a body holds two, the second stands for the sentinel, and is looked at as that."""
    body, other = bodies(1)[0], encode(FILE_EVENT, host().event(1) | {"time": time})
    with pytest.raises(BlockError):
        READER.read([body + other], [b"host-1"])
