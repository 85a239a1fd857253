"""Every message ends up in one place, and a bad one takes no neighbour along."""

import json
import random
from datetime import UTC, datetime

import pytest
from fsmon_consumer.batch import Batch, Decoder, LogSlice
from fsmon_consumer.dead_letters import Identity, Reason, schema_text
from fsmon_consumer.registry import WriterSchemas
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, RetryableError, Schema
from fsmon_schemas.framing import RegistryId, SchemaRef, confluent_prefix, single_object_prefix
from fsmon_schemas.registry import RegistryAwayError, UnknownSchemaError
from simulated_host import SimulatedHost, encode

FRAME = single_object_prefix(FILE_EVENT)
START = 1_795_000_000_000_000
LATEST = datetime(2026, 12, 1, tzinfo=UTC)


def decode(
    values: list[bytes | None], keys: list[bytes | None] | None = None, topic: str = "events"
) -> Batch:
    schemas = WriterSchemas(None)

    def find(ref: SchemaRef) -> Schema:
        known: dict[SchemaRef, Schema] = {RegistryId(1): FILE_EVENT, RegistryId(2): CAPTURE_REPORT}
        return known.get(ref) or schemas.find(ref)

    keys = keys or [b"host-1"] * len(values)
    piece = LogSlice(topic, 3, 1, keys, values, list(range(100, 100 + len(values))))
    return Decoder("reports", find).decode([piece], LATEST)


def host(frame: bytes = FRAME) -> SimulatedHost:
    return SimulatedHost("host-1", 77, frame, START)


def reasons(batch: Batch) -> dict[int, Reason]:
    return {letter.offset: letter.reason for _, letter in batch.dead}


def test_garbage_among_many_is_found_and_its_neighbours_stay() -> None:
    values: list[bytes | None] = list(host().messages(5000))
    dice = random.Random(3)
    bad = {
        7: None,
        8: b"",
        9: b"garbage",
        1000: FRAME,
        1001: FRAME + dice.randbytes(150),
        2500: (values[2500] or b"")[:-3],
        2501: (values[2501] or b"") + b"x",
        4000: b"\xc3\x01" + b"12345678" + b"body",
        4001: confluent_prefix(9) + b"body",
        4999: confluent_prefix(2) + host().report(acked=0, partition=None, offset=None, ended=False),
    }
    for index, value in bad.items():
        values[index] = value
    batch = decode(values)
    assert len(batch.events) == 5000 - len(bad)
    assert {place[4] for place in batch.events.places()} == set(range(5000)) - set(bad)
    assert reasons(batch) == {
        107: Reason.FRAMING,
        108: Reason.FRAMING,
        109: Reason.FRAMING,
        1100: Reason.UNDECODABLE,
        1101: Reason.UNDECODABLE,
        2600: Reason.UNDECODABLE,
        2601: Reason.UNDECODABLE,
        4100: Reason.UNKNOWN_SCHEMA,
        4101: Reason.UNKNOWN_SCHEMA,
        5099: Reason.WRONG_SCHEMA,
    }
    letters = {letter.offset: letter for _, letter in batch.dead}
    assert all(letters[100 + index].value == value for index, value in bad.items())
    assert letters[2600].identity == Identity("host-1", 77, 2500)
    assert letters[1101].identity is None
    assert schema_text(letters[4101].schema) == "registry id 9"


def test_both_framings_in_one_slice() -> None:
    values: list[bytes | None] = [*host().messages(10), *host(confluent_prefix(1)).messages(10)]
    batch = decode(values)
    assert len(batch.events) == 20
    assert sorted(place[1] for place in batch.events.places()) == list(range(100, 120))


def test_a_foreign_key_is_a_dead_letter_without_identity() -> None:
    values: list[bytes | None] = list(host().messages(3))
    batch = decode(values, [b"host-1", b"host-2", b"host-1"])
    assert reasons(batch) == {101: Reason.KEY_MISMATCH}
    assert batch.dead[0][1].identity is None


def test_unstorable_values_are_dead_letters_with_identity() -> None:
    events = [host().event(seq) for seq in range(3)]
    events[1]["comm"] = "a\0b"
    batch = decode([FRAME + encode(FILE_EVENT, event) for event in events])
    assert reasons(batch) == {101: Reason.NUL}
    assert batch.dead[0][1].identity == Identity("host-1", 77, 1)


HUGE = (1 << 63) - 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"host_id": "a\0b"}, Reason.NUL),
        ({"host_id": "a\0b", "time": -1}, Reason.TIME),
        ({"host_id": ""}, Reason.HOST_ID),
        ({"host_id": "x" * 256}, Reason.HOST_ID),
        ({"session": -1}, Reason.NEGATIVE),
        ({"seq": -HUGE}, Reason.NEGATIVE),
        ({"seq": HUGE}, Reason.RANGE),
        ({"seq": HUGE, "comm": "\0"}, Reason.RANGE),
    ],
)
@pytest.mark.parametrize("cut", [0, 1])
def test_what_the_ledger_cannot_hold_is_nobodys(changes: dict[str, object], reason: Reason, cut: int) -> None:
    """Neither of a record that decodes nor of one cut short, of which the head does."""
    events = [host().event(seq) for seq in range(3)]
    events[1] |= changes
    values: list[bytes | None] = [FRAME + encode(FILE_EVENT, event) for event in events]
    values[1] = (values[1] or b"")[: len(values[1] or b"") - cut]
    batch = decode(values, [event["host_id"].encode() for event in events])
    assert reasons(batch) == {101: Reason.UNDECODABLE if cut else reason}
    assert batch.dead[0][1].identity is None
    assert [place[4] for place in batch.events.places()] == [0, 2]


def test_the_last_seq_that_another_follows_is_an_event() -> None:
    batch = decode([FRAME + encode(FILE_EVENT, host().event(0) | {"session": HUGE, "seq": HUGE - 1})])
    assert batch.events.streams()[0].stop == HUGE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({name: "a\0"}, Reason.NUL) for name in ("hostname", "kernel", "end_reason", "boot_id")),
        *(({name: {"\0": 1}}, Reason.NUL) for name in ("lost", "uncovered")),
        ({"operations": [{"op": "\0", "emitted": 1, "lost": 1}]}, Reason.NUL),
        ({"operations": [{"op": "", "emitted": 1, "lost": 1, "lost_by_stage": {"\0": 1}}]}, Reason.NUL),
        ({"host_id": "\0"}, Reason.NUL),
        ({"host_id": "x" * 256}, Reason.HOST_ID),
        ({"session": -1}, Reason.NEGATIVE),
        ({"time": -1}, Reason.TIME),
        ({"session_start": 253_402_300_799_999_999}, Reason.TIME),
        ({"session_start": HUGE}, Reason.UNDECODABLE),
        ({"dropped": [{"first": 0, "end": 3}, {"first": 2, "end": 1}]}, Reason.RANGE),
        ({"dropped": [{"first": -1, "end": 1}]}, Reason.RANGE),
    ],
)
def test_reports_that_cannot_be_stored_or_read_again(changes: dict[str, object], reason: Reason) -> None:
    record = host().report_record(acked=5, partition=1, offset=9, ended=True)
    sound = f"{record['host_id']}/{record['session']}".encode()
    values = [
        single_object_prefix(CAPTURE_REPORT) + encode(CAPTURE_REPORT, each)
        for each in (record, record | changes)
    ]
    batch = decode(
        [*values], [sound, "{host_id}/{session}".format(**(record | changes)).encode()], topic="reports"
    )
    assert len(batch.reports) == 1
    assert reasons(batch) == {101: reason}


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("time", "long"),
        ("time", {"type": "long", "logicalType": "local-timestamp-micros"}),
        ("emitted", {"type": "long", "logicalType": "time-micros"}),
        ("emitted", {"type": "long", "logicalType": "timestamp-micros"}),
    ],
)
def test_a_report_whose_schema_means_other_types_is_a_dead_letter(field: str, written: object) -> None:
    """A registry may hold it: resolution lets it pass, and PostgreSQL would refuse the statement."""
    declared = json.loads(CAPTURE_REPORT.text)
    next(each for each in declared["fields"] if each["name"] == field)["type"] = written
    body = host().report(acked=5, partition=1, offset=9, ended=True)
    piece = LogSlice("reports", 0, 1, [b"host-1/77"], [confluent_prefix(5) + body], [0])
    batch = Decoder("reports", lambda _: Schema(json.dumps(declared))).decode([piece], LATEST)
    assert reasons(batch) == {0: Reason.UNDECODABLE}


def test_reports_are_read_and_checked() -> None:
    frame = single_object_prefix(CAPTURE_REPORT)
    body = host().report(acked=5, partition=1, offset=9, ended=True)
    values: list[bytes | None] = [frame + body, frame + body, frame + body[:-1], FRAME + b"x", b"?"]
    keys: list[bytes | None] = [b"host-1/77", b"host-1", b"host-1/77", b"host-1/77", None]
    batch = decode(values, keys, topic="reports")
    assert [report["acked_seq"] for _, report in batch.reports] == [5]
    assert reasons(batch) == {
        101: Reason.KEY_MISMATCH,
        102: Reason.UNDECODABLE,
        103: Reason.WRONG_SCHEMA,
        104: Reason.FRAMING,
    }


@pytest.mark.parametrize("text", ['"string"', '["null", "string"]', '{"type": "array", "items": "long"}'])
@pytest.mark.parametrize("topic", ["events", "reports"])
def test_an_id_of_something_that_is_no_record_is_a_dead_letter(text: str, topic: str) -> None:
    frame = confluent_prefix(5)
    piece = LogSlice(topic, 0, 1, [b"host-1"], [frame + b"body"], [0])
    batch = Decoder("reports", lambda _: Schema(text)).decode([piece], LATEST)
    assert reasons(batch) == {0: Reason.WRONG_SCHEMA}


def test_fields_that_are_not_stored_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    declared = json.loads(FILE_EVENT.text)
    declared["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    decoder = Decoder("reports", lambda _: Schema(json.dumps(declared)))
    piece = LogSlice("events", 0, 1, [b"host-1"], [confluent_prefix(5) + b"body"], [0])
    for _ in range(3):
        decoder.decode([piece], LATEST)
    assert [record.getMessage() for record in caplog.records] == [
        "registry id 5 has fields that are not stored: colour; a newer fsmon-consumer may know them"
    ]


def test_a_registry_that_is_away_is_no_dead_letter() -> None:
    def away(ref: SchemaRef) -> Schema:
        raise RegistryAwayError(str(ref))

    piece = LogSlice("events", 0, 1, [b"host-1"], list(host().messages(1)), [0])
    with pytest.raises(RetryableError):
        Decoder("reports", away).decode([piece], LATEST)


def test_without_a_registry_its_ids_are_unknown() -> None:
    with pytest.raises(UnknownSchemaError, match="--registry"):
        WriterSchemas(None).find(RegistryId(1))
