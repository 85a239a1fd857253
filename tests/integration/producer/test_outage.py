"""The broker away: at start, in the middle, at the end. Nothing is released, nothing lost, nothing loud."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from fix_kafka import Topics
from fsmon_producer.backlog import Backlog
from fsmon_producer.publish import Publisher
from fsmon_producer.ring import Cursor
from fsmon_producer.spool import Spool
from fsmon_producer.stop import Stop
from integration.producer.producing_host import IDENTITY, SESSION, Arrived, ProducingHost, arrived, wait_until
from local.kafka import Kafka

pytestmark = pytest.mark.services

TOPICS = Topics("outage.file-events", "outage.capture-reports", 2)


@pytest.fixture
def own_kafka(state_dir: Path, request: pytest.FixtureRequest) -> Iterator[Kafka]:
    """A broker that the test may stop, with its topics made."""
    broker = Kafka(state_dir / f"outage-{request.node.name}")
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    made = admin.create_topics(
        [
            NewTopic(name, partitions, config={"message.timestamp.type": "LogAppendTime"})
            for name, partitions in ((TOPICS.events, TOPICS.partitions), (TOPICS.reports, 1))
        ]
    )
    for future in made.values():
        future.result(30)
    yield broker
    broker.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("fsmon_producer.")
        and record.levelno >= logging.WARNING
        and record.name != "fsmon_producer.librdkafka"
    ]


def test_an_outage_in_the_middle_loses_nothing_and_releases_nothing(
    own_kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    host = ProducingHost(own_kafka.bootstrap, TOPICS).start()
    for number in range(1000):
        host.capture.emit_event(pid=number)
    wait_until(lambda: host.publisher.settled and host.publisher.acknowledged.cursor.seq == 1000)
    released = host.capture.consumer
    own_kafka.stop()
    for number in range(1000, 3000):
        assert host.capture.emit_event(pid=number) is not None
    time.sleep(1)
    cpu = time.process_time()
    time.sleep(3)
    cpu = time.process_time() - cpu
    assert host.capture.consumer == released
    assert host.publisher.acknowledged.cursor.seq == 1000
    assert len(warnings(caplog)) == 1
    own_kafka.start()
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 3000)
    assert host.stop() == 0
    events = arrived(own_kafka.bootstrap, TOPICS.events, TOPICS.partitions)
    assert [event.value["seq"] for event in events] == list(range(3000))
    assert [event.value["pid"] for event in events] == list(range(3000))
    assert ["capturing goes on" in warnings(caplog)[0], "back" in warnings(caplog)[1]] == [True, True]
    assert len(warnings(caplog)) == 2
    assert cpu < 0.3, f"{cpu:.2f} s of CPU in 3 s of waiting"


def test_a_broker_that_is_down_at_start_gets_everything_later(
    own_kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    own_kafka.stop()
    host = ProducingHost(own_kafka.bootstrap, TOPICS, ring_bytes=1 << 16).start()
    taken = sum(host.capture.emit_event(pid=number) is not None for number in range(2000))
    time.sleep(3)
    assert 0 < taken < 2000
    assert host.capture.consumer == 0
    assert host.capture.clock_syncs >= 2
    outage, losses = warnings(caplog)
    assert "capturing goes on" in outage
    assert losses.startswith(f"{2000 - taken} events could not be captured")
    own_kafka.start()
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == taken)
    host.capture.emit_event(pid=9999)
    assert host.stop() == 0
    events = arrived(own_kafka.bootstrap, TOPICS.events, TOPICS.partitions)
    assert [event.value["pid"] for event in events] == [*range(taken), 9999]
    last = arrived(own_kafka.bootstrap, TOPICS.reports, 1)[-1].value
    assert last["lost"] == {"ring_full": 2000 - taken}
    assert (last["emitted"], last["acked_seq"]) == (taken + 1, taken + 1)


def test_told_to_stop_while_the_broker_is_away_it_ends_in_time_and_says_what_is_left(
    own_kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    host = ProducingHost(own_kafka.bootstrap, TOPICS, drain_timeout=1.0).start()
    host.capture.emit_event()
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 1)
    own_kafka.stop()
    for _ in range(5):
        host.capture.emit_event()
    started = time.monotonic()
    assert host.stop() == 1
    assert time.monotonic() - started < 6
    assert host.capture.detached
    assert any(message.startswith("5 events were captured and not delivered") for message in warnings(caplog))
    assert any("last report" in message for message in warnings(caplog))


def test_a_long_outage_goes_through_the_spool_in_order(
    own_kafka: Kafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = ProducingHost(own_kafka.bootstrap, TOPICS, ring_bytes=1 << 16, spool=tmp_path / "spool").start()
    for number in range(200):
        host.capture.emit_event(pid=number)
    wait_until(lambda: host.publisher.settled and host.publisher.acknowledged.cursor.seq == 200)
    assert not any((tmp_path / "spool").iterdir())
    own_kafka.stop()
    emit_patiently(host, 200, 6000)
    assert host.spool is not None
    assert host.spool.size > 1 << 19
    cpu = time.process_time()
    time.sleep(3)
    cpu = time.process_time() - cpu
    own_kafka.start()
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 6000)
    emit_patiently(host, 6000, 6100)
    assert host.stop() == 0
    pids = [event.value["pid"] for event in in_order_of_first_arrival(own_kafka)]
    assert pids == list(range(6100))
    assert not any((tmp_path / "spool").iterdir())
    assert host.capture.counted.lost["ring_full"].total() == 0
    assert any("Kafka does not keep up" in message for message in warnings(caplog))
    assert cpu < 0.3, f"{cpu:.2f} s of CPU in 3 s of waiting"


def test_the_next_producer_delivers_what_the_killed_one_spooled(own_kafka: Kafka, tmp_path: Path) -> None:
    own_kafka.stop()
    killed = ProducingHost(own_kafka.bootstrap, TOPICS, ring_bytes=1 << 16, spool=tmp_path / "spool")
    emitted = 0
    while killed.spool is None or killed.spool.size < 1 << 18:
        while killed.capture.emit_event(pid=emitted) is not None:
            emitted += 1
        killed.capture.counted.lost["ring_full"].clear()
        killed.pipeline.tend()
    # As if it were killed between sync and cursor: the ring has again what the spool has.
    *_, (before, _), (_, _) = killed.capture.cursors
    killed.capture.cursors.append((before, 0))
    killed.publisher.close()
    killed.ring.close()
    own_kafka.start()
    host = ProducingHost(
        own_kafka.bootstrap, TOPICS, capture=killed.capture, spool=tmp_path / "spool"
    ).start()
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == emitted)
    assert host.stop() == 0
    assert [event.value["pid"] for event in in_order_of_first_arrival(own_kafka)] == list(range(emitted))


def test_a_full_spool_fills_the_ring_and_every_loss_is_counted(
    own_kafka: Kafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_kafka.stop()
    spool = tmp_path / "spool"
    host = ProducingHost(own_kafka.bootstrap, TOPICS, ring_bytes=1 << 16, spool=spool, spool_bytes=1 << 17)
    host.start()
    taken = 0
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        taken += host.capture.emit_event(pid=taken) is not None
        time.sleep(0.0005)
    lost = host.capture.counted.lost["ring_full"]["write"]
    assert lost > 0
    assert host.spool is not None
    assert taken > host.spool.end > 500
    assert any("the spool has reached its" in message for message in warnings(caplog))
    own_kafka.start()
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == taken)
    assert host.stop() == 0
    assert [event.value["pid"] for event in in_order_of_first_arrival(own_kafka)] == list(range(taken))
    last = arrived(own_kafka.bootstrap, TOPICS.reports, 1)[-1].value
    assert (last["emitted"], last["lost"]) == (taken, {"ring_full": lost})


def test_told_to_end_while_the_broker_is_away_it_leaves_all_to_the_spool(
    own_kafka: Kafka, tmp_path: Path
) -> None:
    own_kafka.stop()
    host = ProducingHost(own_kafka.bootstrap, TOPICS, drain_timeout=1.0, spool=tmp_path / "spool").start()
    for number in range(100):
        host.capture.emit_event(pid=number)
    assert host.stop() == 0
    assert host.capture.consumer == host.capture.producer
    own_kafka.start()
    spool = Spool(tmp_path / "spool", SESSION.id, 1 << 30)
    publisher = Publisher(host.cluster, SESSION.host_id, SESSION.id, Cursor(0, spool.first))
    assert Backlog(spool, IDENTITY, publisher).deliver(Stop(), lambda: None)
    publisher.close()
    assert [event.value["pid"] for event in in_order_of_first_arrival(own_kafka)] == list(range(100))
    last = arrived(own_kafka.bootstrap, TOPICS.reports, 1)[-1].value
    assert (last["state"], last["emitted"], last["acked_seq"], last["acked_offset"]) == (
        "ended",
        100,
        100,
        99,
    )
    assert not (tmp_path / "spool").exists()


def test_told_to_end_with_a_broker_that_is_too_slow_the_session_ends_when_its_spool_is_delivered(
    own_kafka: Kafka, tmp_path: Path
) -> None:
    """Till then the reports do not say so: its events are under way, not unaccounted for."""
    host = ProducingHost(own_kafka.bootstrap, TOPICS, drain_timeout=0.001, spool=tmp_path / "spool").start()
    host.capture.emit_event(pid=0)
    wait_until(lambda: host.publisher.settled and host.publisher.acknowledged.cursor.seq == 1)
    for number in range(1, 100):
        host.capture.emit_event(pid=number)
    assert host.stop() == 0  # before librdkafka has sent them: it lingers for 50 ms
    before = arrived(own_kafka.bootstrap, TOPICS.reports, 1)[-1].value
    assert (before["state"], before["emitted"]) == ("running", 100)
    spool = Spool(tmp_path / "spool", SESSION.id, 1 << 30)
    assert spool.end == 100
    publisher = Publisher(host.cluster, SESSION.host_id, SESSION.id, Cursor(0, spool.first))
    assert Backlog(spool, IDENTITY, publisher).deliver(Stop(), lambda: None)
    publisher.close()
    assert [event.value["pid"] for event in in_order_of_first_arrival(own_kafka)] == list(range(100))
    last = arrived(own_kafka.bootstrap, TOPICS.reports, 1)[-1].value
    assert (last["state"], last["emitted"], last["acked_seq"]) == ("ended", 100, 100)
    assert last["boot_time"] > before["boot_time"]


def emit_patiently(host: ProducingHost, start: int, stop: int) -> None:
    """Let the kernel lose none."""
    for number in range(start, stop):
        while host.capture.emit_event(pid=number) is None:
            host.capture.counted.lost["ring_full"].clear()
            time.sleep(0.01)


def in_order_of_first_arrival(kafka: Kafka) -> list[Arrived]:
    """Without what was sent again; in the topic's order, which must be that of seq."""
    first = {event.value["seq"]: event for event in reversed(arrived(kafka.bootstrap, TOPICS.events, 2))}
    events = sorted(first.values(), key=lambda event: event.offset)
    assert [event.value["seq"] for event in events] == list(range(len(events)))
    return events
