"""The broker away: at start, in the middle, at the end. Nothing is released, nothing lost, nothing loud."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from fix_kafka import Topics
from integration.producer.producing_host import ProducingHost, arrived, wait_until
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
