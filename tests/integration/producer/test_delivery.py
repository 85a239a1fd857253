"""Ring to Kafka against a real broker: order, completeness, release only after acknowledgement."""

import itertools

import pytest
from fix_kafka import Broker, Topics
from fsmon_producer.partitioner import partition_of
from integration.producer.producing_host import SESSION, ProducingHost, arrived, wait_until
from unit.producer.fake_capture import BUSY, DISCARDED, NOT_ASCII, body

pytestmark = pytest.mark.services


def test_events_arrive_in_order_in_one_partition_and_the_ring_is_given_back(
    kafka: Broker, topics: Topics
) -> None:
    host = ProducingHost(kafka.bootstrap, topics, ring_bytes=1 << 18).start()
    for number in range(5000):
        while host.capture.emit_event(pid=number) is None:
            host.capture.counted.lost["ring_full"].clear()
    assert host.stop() == 0
    events = arrived(kafka.bootstrap, topics.events, topics.partitions)
    assert [event.value["seq"] for event in events] == list(range(5000))
    assert [event.value["pid"] for event in events] == list(range(5000))
    assert {event.partition for event in events} == {partition_of(b"host-a", topics.partitions)}
    assert {event.key for event in events} == {b"host-a"}
    assert host.capture.consumer == host.capture.producer
    assert host.capture.detached


def test_the_cursor_is_written_before_the_consumer_position_moves(kafka: Broker, topics: Topics) -> None:
    host = ProducingHost(kafka.bootstrap, topics).start()
    for number in range(3000):
        host.capture.emit_event(pid=number)
    assert host.stop() == 0
    assert host.capture.cursors[-1][0] == (host.capture.producer, 3000)
    for (before, _), (cursor, consumer_then) in itertools.pairwise(host.capture.cursors):
        assert before < cursor
        assert consumer_then == before.position


def test_busy_discarded_flagged_and_undecodable_records(kafka: Broker, topics: Topics) -> None:
    host = ProducingHost(kafka.bootstrap, topics).start()
    capture = host.capture
    capture.emit_event(path="/tmp/a")
    capture.emit(b"\x00gone", bits=DISCARDED)
    busy = capture.emit(b"\x00" + body(path="/tmp/b"), bits=BUSY)
    capture.emit_event(flag=NOT_ASCII, raw={"path": "/tmp/ü".encode()})
    capture.emit_event(flag=NOT_ASCII, raw={"path": b"/tmp/\xff\\"})
    capture.emit(b"\x01not avro")
    capture.emit_event(path="/tmp/z")
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 1)
    assert busy is not None
    capture.commit(busy)
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 6)
    capture.emit(b"\x00gone too", bits=DISCARDED)
    assert host.stop() == 0
    events = arrived(kafka.bootstrap, topics.events, topics.partitions)
    assert [event.value["seq"] for event in events] == list(range(6))
    assert [event.value["path"] for event in events] == [
        "/tmp/a",
        "/tmp/b",
        "/tmp/ü",
        "/tmp/\\xff\\x5c",
        None,
        "/tmp/z",
    ]
    assert events[3].value["path_raw"] == b"/tmp/\xff\\"
    assert capture.consumer == capture.producer


def test_an_idle_producer_waits_on_the_ring_and_wakes_at_once(kafka: Broker, topics: Topics) -> None:
    host = ProducingHost(kafka.bootstrap, topics, report_interval=60).start()
    host.capture.emit_event()
    wait_until(lambda: host.publisher.settled and host.ring.waits > 2)
    waits = host.ring.waits
    host.capture.emit_event()
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 2, 1.0)
    assert host.ring.waits - waits < 10
    assert host.stop() == 0


def test_reports_tell_start_progress_and_end(kafka: Broker, topics: Topics) -> None:
    host = ProducingHost(kafka.bootstrap, topics, report_interval=0.2).start()
    for _ in range(100):
        host.capture.emit_event(op="read")
    host.capture.counted.lost["ring_full"]["write"] = 3
    host.capture.counted.uncovered["io_uring"] = 9
    wait_until(lambda: host.publisher.reports_acknowledged >= 3)
    assert host.stop("SIGTERM") == 0
    reports = [report.value for report in arrived(kafka.bootstrap, topics.reports, 1)]
    assert [report["state"] for report in reports] == ["started", *["running"] * (len(reports) - 2), "ended"]
    last = reports[-1]
    assert (last["emitted"], last["next_seq"], last["acked_seq"], last["backlog"]) == (100, 100, 100, 0)
    assert last["end_reason"] == "SIGTERM"
    assert last["lost"] == {"ring_full": 3}
    assert last["uncovered"] == {"io_uring": 9}
    assert last["operations"] == [
        {"op": "read", "emitted": 100, "lost": 0, "lost_by_stage": {}},
        {"op": "write", "emitted": 0, "lost": 3, "lost_by_stage": {"ring_full": 3}},
    ]
    events = arrived(kafka.bootstrap, topics.events, topics.partitions)
    assert (last["acked_partition"], last["acked_offset"]) == (events[-1].partition, events[-1].offset)
    assert (last["host_id"], last["session"], last["boot_id"]) == (SESSION.host_id, SESSION.id, "boot")
    keys = {report.key for report in arrived(kafka.bootstrap, topics.reports, 1)}
    assert keys == {f"host-a/{SESSION.id}".encode()}
    assert all(report["emitted"] == report["next_seq"] + report["backlog"] for report in reports)


def test_a_full_client_queue_stops_reading_and_loses_nothing(kafka: Broker, topics: Topics) -> None:
    host = ProducingHost(kafka.bootstrap, topics, kafka={"queue.buffering.max.messages": "100"}).start()
    for number in range(5000):
        assert host.capture.emit_event(pid=number) is not None
    assert host.stop() == 0
    events = arrived(kafka.bootstrap, topics.events, topics.partitions)
    assert [event.value["pid"] for event in events] == list(range(5000))
    assert [event.value["seq"] for event in events] == list(range(5000))


def test_losses_in_the_kernel_are_said(
    kafka: Broker, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    host = ProducingHost(kafka.bootstrap, topics, report_interval=0.1).start()
    host.capture.counted.lost["ring_full"]["write"] = 3
    wait_until(lambda: "3 events could not be captured, 3 in all" in caplog.text)
    host.capture.counted.lost["ring_full"]["read"] = 4
    wait_until(lambda: "4 events could not be captured, 7 in all" in caplog.text)
    assert "lost (ring_full) 7" in caplog.text
    assert host.stop() == 0


def test_the_next_producer_of_a_ring_goes_on_at_its_cursor(kafka: Broker, topics: Topics) -> None:
    first = ProducingHost(kafka.bootstrap, topics).start()
    for number in range(1000):
        first.capture.emit_event(pid=number)
    assert first.stop() == 0, first.error
    second = ProducingHost(kafka.bootstrap, topics, capture=first.capture).start()
    for number in range(1000, 1500):
        second.capture.emit_event(pid=number)
    assert second.stop() == 0
    events = arrived(kafka.bootstrap, topics.events, topics.partitions)
    assert [(event.value["seq"], event.value["pid"]) for event in events] == [(n, n) for n in range(1500)]
