import struct
from collections.abc import Iterator

import pytest
from fsmon_producer.ring import Cursor, Ring
from fsmon_schemas.errors import FatalError
from unit.producer.fake_capture import BUSY, DISCARDED, PAGE, FakeCapture

LIMIT, LONGEST = 1000, 1 << 20


@pytest.fixture
def capture() -> Iterator[FakeCapture]:
    capture = FakeCapture(4096)
    yield capture
    capture.close()


def reader(capture: FakeCapture) -> Ring:
    return Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))


def test_records_come_in_order_without_their_flag_byte(capture: FakeCapture) -> None:
    ring = reader(capture)
    for payload in (b"\x00one", b"\x01two", b"\x00", b"\x00twelve bytes"):
        capture.emit(payload)
    batch = ring.read(LIMIT, LONGEST)
    assert batch.bodies == [b"one", b"two", b"", b"twelve bytes"]
    assert batch.special == [1]
    assert (batch.start, batch.end) == (Cursor(0, 0), Cursor(capture.producer, 4))
    assert ring.behind == 0
    ring.close()


def test_reading_releases_nothing_and_release_moves_the_consumer_position(capture: FakeCapture) -> None:
    ring = reader(capture)
    capture.emit(b"\x00abc")
    end = ring.read(LIMIT, LONGEST).end
    assert capture.consumer == 0
    ring.release(end)
    assert capture.consumer == end.position
    ring.close()


def test_at_most_limit_records_are_read(capture: FakeCapture) -> None:
    ring = reader(capture)
    for number in range(5):
        capture.emit(b"\x00%d" % number)
    assert [ring.read(2, LONGEST).bodies for _ in range(4)] == [[b"0", b"1"], [b"2", b"3"], [b"4"], []]
    ring.close()


def test_a_busy_record_stops_reading_until_it_is_committed(capture: FakeCapture) -> None:
    ring = reader(capture)
    capture.emit(b"\x00first")
    busy = capture.emit(b"\x00second", bits=BUSY)
    capture.emit(b"\x00third")
    assert ring.read(LIMIT, LONGEST).bodies == [b"first"]
    assert ring.read(LIMIT, LONGEST).bodies == []
    assert ring.behind > 0
    assert busy is not None
    capture.commit(busy)
    assert ring.read(LIMIT, LONGEST).bodies == [b"second", b"third"]
    ring.close()


def test_a_discarded_record_takes_no_seq(capture: FakeCapture) -> None:
    ring = reader(capture)
    capture.emit(b"\x00a")
    capture.emit(b"\x00never", bits=DISCARDED)
    capture.emit(b"\x00b")
    batch = ring.read(LIMIT, LONGEST)
    assert batch.bodies == [b"a", b"b"]
    assert batch.end == Cursor(capture.producer, 2)
    capture.emit(b"\x00never", bits=DISCARDED)
    alone = ring.read(LIMIT, LONGEST)
    assert alone.bodies == []
    assert alone.end == Cursor(capture.producer, 2)
    ring.close()


def test_records_wrap_around_many_times(capture: FakeCapture) -> None:
    ring = reader(capture)
    written, read = [], []
    for number in range(1000):
        payload = b"\x00" + b"%06d" % number * (1 + number % 50)
        assert capture.emit(payload) is not None
        written.append(payload[1:])
        if number % 7 == 0:
            batch = ring.read(LIMIT, LONGEST)
            read += batch.bodies
            ring.release(batch.end)
    read += ring.read(LIMIT, LONGEST).bodies
    assert read == written
    assert capture.producer > 20 * capture.ring_bytes
    ring.close()


def test_longer_records_are_special_not_lost(capture: FakeCapture) -> None:
    ring = reader(capture)
    capture.emit(b"\x00" + b"x" * 99)
    capture.emit(b"\x00" + b"y" * 100)
    capture.emit(b"\x00z")
    batch = ring.read(LIMIT, 100)
    assert batch.special == [1]
    assert [len(body) for body in batch.bodies] == [99, 100, 1]
    ring.close()


def test_what_is_unreleased_can_be_read_again_also_by_the_next_reader(capture: FakeCapture) -> None:
    ring = reader(capture)
    for number in range(6):
        capture.emit(b"\x00%d" % number)
    middle = ring.read(2, LONGEST).end
    assert ring.read(LIMIT, LONGEST).bodies == [b"2", b"3", b"4", b"5"]
    ring.rewind(middle)
    assert ring.read(LIMIT, LONGEST).bodies == [b"2", b"3", b"4", b"5"]
    capture.write_cursor(*middle)  # then killed, before the consumer position moved
    ring.close()
    after = reader(capture)
    assert capture.consumer == middle.position
    batch = after.read(LIMIT, LONGEST)
    assert batch.start.seq == 2
    assert batch.bodies == [b"2", b"3", b"4", b"5"]
    after.close()


def test_a_length_that_leads_past_the_end_is_fatal(capture: FakeCapture) -> None:
    ring = reader(capture)
    capture.emit(b"\x00abc")
    capture._map[2 * PAGE : 2 * PAGE + 4] = struct.pack("<I", 900)
    with pytest.raises(FatalError, match="corrupt"):
        ring.read(LIMIT, LONGEST)
    ring.close()
