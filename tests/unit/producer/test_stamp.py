import io
import json
from typing import Any

import fastavro
import pytest
from fsmon_producer.record import EventCodec
from fsmon_producer.ring import Batch, Cursor
from fsmon_producer.stamp import Stamp
from fsmon_schemas.framing import RegistryId, confluent_prefix, encode_long, split_frame
from fsmon_schemas.schema import FILE_EVENT, Schema
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.producer.fake_capture import body, event

FRAME = confluent_prefix(7)
SESSION = 2**62 + 5


def stamped(
    bodies: list[bytes], special: list[int], seq: int = 0, limit: int = 10**6
) -> tuple[list[bytes], Stamp]:
    stamp = Stamp(FRAME, "höst-1", SESSION, limit)
    batch = Batch(Cursor(0, seq), Cursor(0, seq + len(bodies)), bodies, special)
    return stamp.messages(batch), stamp


def decoded(message: bytes) -> dict[str, Any]:
    reference, start = split_frame(message)
    assert reference == RegistryId(7)
    stream = io.BytesIO(message[start:])
    event = fastavro.schemaless_reader(stream, FILE_EVENT.parsed, None)
    assert stream.tell() == len(message) - start
    assert isinstance(event, dict)
    assert (event["host_id"], event["session"]) == ("höst-1", SESSION)
    return event


@settings(deadline=None)  # a busy machine
@given(
    seq=st.one_of(
        st.integers(0, 200), st.integers(0, 2**62), st.sampled_from([2**13 - 3, 2**20 - 70, 2**34 - 1])
    ),
    bodies=st.lists(st.binary(max_size=40), max_size=200),
)
def test_every_message_is_prefix_canonical_seq_and_the_bytes_as_they_are(
    seq: int, bodies: list[bytes]
) -> None:
    messages, _ = stamped(list(bodies), [], seq)
    prefix = FRAME + b"\x0e" + "höst-1".encode() + encode_long(SESSION)
    assert messages == [prefix + encode_long(seq + index) + data for index, data in enumerate(bodies)]


def test_the_kernels_bytes_decode_to_the_event_with_consecutive_seq() -> None:
    messages, stamp = stamped([body(pid=pid) for pid in range(300)], [], 60)
    events = [decoded(message) for message in messages]
    assert [event["seq"] for event in events] == list(range(60, 360))
    assert [event["pid"] for event in events] == list(range(300))
    assert stamp.counts.rewritten == 0


paths = st.binary(min_size=1, max_size=60).map(
    lambda data: b"/" + data.replace(b"\x00", b"0").replace(b"\x01", b"1")
)


@settings(deadline=None)  # a busy machine
@given(path=paths)
def test_a_flagged_path_arrives_readable_and_reversible(path: bytes) -> None:
    messages, stamp = stamped([body({"path": path}, comm="x")], [0], 5)
    event = decoded(messages[0])
    assert event["seq"] == 5
    try:
        assert event["path"] == path.decode("utf-8")
        assert event["path_raw"] is None
        assert messages[0].endswith(body({"path": path}, comm="x"))
        assert stamp.counts.rewritten == 0
    except UnicodeDecodeError:
        assert event["path_raw"] == path
        assert unescaped(event["path"]) == path
        assert stamp.counts.rewritten == 1


def unescaped(text: str) -> bytes:
    first, *rest = text.split("\\x")
    return first.encode() + b"".join(bytes([int(part[:2], 16)]) + part[2:].encode() for part in rest)


def test_every_string_of_a_flagged_record_is_made_text_and_all_else_kept() -> None:
    raw = {"path": "/tmp/ü".encode(), "target_path": b"/t\\\xff", "comm": b"\xc3(", "exe": b"/\xe2\x82\xac"}
    values = {
        "op": "rename",
        "inode": -(2**63),
        "boot_time": 2**63 - 1,
        "time": -1,
        "last_time": 2**62,
        "file_type": "regular",
        "deleted": True,
        "result": -2,
    }
    messages, _ = stamped([body(raw, **values)], [0])
    stream = io.BytesIO(messages[0][5:])
    event = fastavro.schemaless_reader(stream, plain_longs(), None)
    assert isinstance(event, dict)
    assert event["path"] == "/tmp/ü"
    assert event["path_raw"] is None
    assert event["target_path"] == "/t\\x5c\\xff"
    assert event["target_path_raw"] == b"/t\\\xff"
    assert event["comm"] == "\\xc3("
    assert event["exe"] == "/€"
    assert {name: event[name] for name in values} == values


def plain_longs() -> Any:
    return fastavro.parse_schema(
        {**FILE_EVENT.declared, "fields": [_plain(field) for field in FILE_EVENT.declared["fields"]]}
    )


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    types = {"time": "long", "last_time": ["null", "long"]}
    return {**field, "type": types.get(field["name"], field["type"])}


def test_a_session_of_another_build_is_read_by_its_own_schema() -> None:
    """What an older producer has left in its ring, the one that replaces it delivers."""
    fields = [field for field in FILE_EVENT.declared["fields"] if field["name"] != "cgroup_id"]
    colour = {"name": "colour", "type": "string", "default": "red"}
    other = Schema(json.dumps({**FILE_EVENT.declared, "fields": [*fields, colour]}))
    written = {"host_id": "", "session": 0, "seq": 0, "colour": "ü"}
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, other.parsed, event(path="/caf!", pid=7) | written)
    long = io.BytesIO()
    fastavro.schemaless_writer(long, other.parsed, event(path="/" + "a" * 2000, pid=8) | written)
    bodies = [stream.getvalue()[3:].replace(b"caf!", b"caf\xe9"), long.getvalue()[3:], b"\xff"]
    batch = Batch(Cursor(0, 5), Cursor(0, 8), bodies, [0, 1, 2])
    messages = Stamp(b"", "host-a", SESSION, 1000, codec=EventCodec(other)).messages(batch)
    read = [fastavro.schemaless_reader(io.BytesIO(message), other.parsed, None) for message in messages]
    escaped, stub, unknown = (one for one in read if isinstance(one, dict))
    assert (escaped["path"], escaped["path_raw"]) == ("/caf\\xe9", b"/caf\xe9")
    assert (escaped["seq"], escaped["pid"], escaped["colour"]) == (5, 7, "ü")
    assert (stub["seq"], stub["pid"], stub["path"], stub["colour"]) == (6, 8, None, "ü")
    assert (unknown["seq"], unknown["op"], unknown["colour"]) == (7, "unknown", "red")


def test_an_oversize_record_becomes_a_stub_with_its_seq() -> None:
    long = body(path="/p" + "a" * 3000, target_path="/t" + "b" * 3000, pid=77, op="rename")
    messages, stamp = stamped([body(), long, body()], [1], 9, limit=1000)
    stub = decoded(messages[1])
    assert (stub["seq"], stub["pid"], stub["op"], stub["path_truncated"]) == (10, 77, "rename", True)
    assert stub["path"] is stub["target_path"] is stub["exe"] is stub["path_raw"] is None
    assert stamp.counts.oversize == 1
    assert all(len(message) <= 1000 for message in messages)
    assert decoded(messages[2])["seq"] == 11


def test_a_record_that_grows_past_the_limit_when_escaped_becomes_a_stub() -> None:
    messages, stamp = stamped([body({"path": b"/" + b"\xff" * 400})], [0], limit=1000)
    assert decoded(messages[0])["path"] is None
    assert stamp.counts.oversize == 1


@pytest.mark.parametrize("limit", range(400, 420))
def test_longest_is_what_surely_fits(limit: int) -> None:
    stamp = Stamp(FRAME, "höst-1", SESSION, limit)
    data = b"x" * (stamp.longest - 1)
    batch = Batch(Cursor(0, 2**63 - 1), Cursor(0, 0), [data])
    assert len(stamp.messages(batch)[0]) <= limit


@settings(deadline=None)  # a busy machine
@given(garbage=st.binary(max_size=300))
def test_garbage_never_stops_the_stream(garbage: bytes) -> None:
    messages, _ = stamped([body(), garbage, body()], [1], 3)
    assert [decoded(message)["seq"] for message in messages] == [3, 4, 5]


def test_a_record_cut_short_becomes_an_unknown_event() -> None:
    messages, stamp = stamped([body()[:-1], body() + b"\x00"], [0, 1], 3)
    for seq, message in enumerate(messages, 3):
        event = decoded(message)
        assert (event["seq"], event["op"], event["path"], event["path_truncated"]) == (
            seq,
            "unknown",
            None,
            True,
        )
    assert stamp.counts.undecodable == 2
