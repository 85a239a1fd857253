"""A topic that changes beneath a session: deleted, made again, given partitions. Recovered, or told."""

import time

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]
from fix_kafka import Broker, Topics
from fsmon_producer.partitioner import partition_of
from integration.producer.producing_host import ProducingHost, arrived, wait_until

pytestmark = pytest.mark.services


def recreate(kafka: Broker, topics: Topics, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    create(admin, topics.events, partitions)


def create(admin: AdminClient, name: str, partitions: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            admin.create_topics([NewTopic(name, partitions)])[name].result(30)
        except Exception as error:  # the deletion may not be through yet
            if "already exists" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def delete(kafka: Broker, topics: Topics) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([topics.events])[topics.events].result(30)


def told(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return any(words in record.getMessage() for record in caplog.records)


def test_a_topic_that_is_deleted_and_made_again_gets_the_rest(
    kafka: Broker, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    host = ProducingHost(kafka.bootstrap, topics).start()
    for number in range(100):
        host.capture.emit_event(pid=number)
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 100)
    delete(kafka, topics)
    for number in range(100, 300):
        host.capture.emit_event(pid=number)
    wait_until(lambda: told(caplog, f"topic {topics.events} does not exist"), 60)
    assert host.capture.consumer < host.capture.producer
    recreate(kafka, topics, topics.partitions)
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 300, 60)
    assert host.stop() == 0
    events = arrived(kafka.bootstrap, topics.events, topics.partitions)
    assert [event.value["seq"] for event in events] == list(range(100, 300))


@pytest.mark.parametrize("topics", [5], indirect=True)
def test_a_topic_made_again_with_fewer_partitions_is_told_and_waited_for(
    kafka: Broker, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    partition = partition_of(b"host-a", topics.partitions)
    assert partition > 0
    host = ProducingHost(kafka.bootstrap, topics).start()
    host.capture.emit_event(pid=0)
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 1)
    delete(kafka, topics)
    host.capture.emit_event(pid=1)
    wait_until(lambda: told(caplog, f"topic {topics.events} does not exist"), 60)
    recreate(kafka, topics, partition)
    wait_until(
        lambda: told(caplog, f"has {partition} partitions, and this session belongs to {partition}"), 60
    )
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_partitions([NewPartitions(topics.events, partition + 1)])[topics.events].result(30)
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 2, 60)
    assert host.stop() == 0
    events = arrived(kafka.bootstrap, topics.events, partition + 1)
    assert [(event.partition, event.value["seq"]) for event in events] == [(partition, 1)]


def test_partitions_that_are_added_change_nothing_for_a_session(kafka: Broker, topics: Topics) -> None:
    host = ProducingHost(kafka.bootstrap, topics).start()
    host.capture.emit_event(pid=0)
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 1)
    admin, more = AdminClient({"bootstrap.servers": kafka.bootstrap}), 4 * topics.partitions + 1
    admin.create_partitions([NewPartitions(topics.events, more)])[topics.events].result(30)
    host.publisher.abandon()  # as after a fatal error: all is looked up anew
    for number in range(1, 200):
        host.capture.emit_event(pid=number)
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 200)
    assert host.stop() == 0
    events = arrived(kafka.bootstrap, topics.events, more)
    assert {event.partition for event in events} == {partition_of(b"host-a", topics.partitions)}
    assert sorted({event.value["seq"] for event in events}) == list(range(200))
