"""A producer on a fake ring, run in a thread, and what arrived of it in Kafka."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from fsmon_producer import kafka
from fsmon_producer.identity import Session
from fsmon_producer.journal import Journal
from fsmon_producer.pins import Identity
from fsmon_producer.pipeline import Pipeline
from fsmon_producer.publish import Cluster, Publisher
from fsmon_producer.spool import Spool
from fsmon_producer.stop import Stop
from fsmon_schemas.framing import split_frame
from fsmon_schemas.schema import CAPTURE_REPORT, FILE_EVENT
from unit.producer.fake_capture import FakeCapture, FakeRing

SESSION = Session("host-a", 4_611_686_018_427_387_905, "boot", 1_700_000_000_000_000, "name", "6.1")
IDENTITY = Identity(SESSION, "", "tracepoint", 0, "", "", FILE_EVENT.text, (), (), {})


class ProducingHost:
    """One session; ``kafka`` overrides client settings."""

    def __init__(
        self,
        bootstrap: str,
        topics: Any,
        *,
        registry: str | None = None,
        ring_bytes: int = 1 << 20,
        kafka: dict[str, str] | None = None,
        drain_timeout: float = 10.0,
        report_interval: float = 0.5,
        capture: FakeCapture | None = None,
        spool: Path | None = None,
        spool_bytes: int = 1 << 30,
    ) -> None:
        self.capture = capture or FakeCapture(ring_bytes)
        self.ring = FakeRing(self.capture)
        self.spool = Spool(spool, SESSION.id, spool_bytes, lambda: IDENTITY) if spool else None
        self.journal = Journal(self.capture, self.ring, self.spool, SESSION)
        self.cluster = Cluster(bootstrap, topics.events, topics.reports, registry, kafka or {})
        self.publisher = Publisher(self.cluster, SESSION.host_id, SESSION.id, self.journal.start)
        self.stop_request = Stop()
        self.pipeline = Pipeline(
            self.capture,
            self.journal,
            self.publisher,
            SESSION,
            self.stop_request,
            report_interval=report_interval,
            drain_timeout=drain_timeout,
        )
        self.exit_code: int | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)  # a failed test leaves it

    def _run(self) -> None:
        try:
            self.exit_code = self.pipeline.run()
        except BaseException as error:  # the test looks at it
            self.error = error

    def start(self) -> "ProducingHost":
        self._thread.start()
        return self

    def stop(self, reason: str = "SIGTERM") -> int | None:
        self.stop_request.reason = reason
        return self.join()

    def join(self, seconds: float = 60) -> int | None:
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        self.publisher.close()
        self.ring.close()
        return self.exit_code


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


@dataclass(frozen=True)
class Arrived:
    key: bytes
    partition: int
    offset: int
    value: dict[str, Any]


def arrived(bootstrap: str, topic: str, partitions: int) -> list[Arrived]:
    """Everything the topic holds, decoded, in order of partition and offset."""
    schema = FILE_EVENT if topic.endswith("file-events") else CAPTURE_REPORT
    found: list[Arrived] = []
    for message in _messages(bootstrap, topic, partitions):
        value, key, partition, offset = message.value(), message.key(), message.partition(), message.offset()
        assert isinstance(value, bytes)
        assert isinstance(key, bytes)
        assert partition is not None
        assert offset is not None
        _, start = split_frame(value)
        stream = io.BytesIO(value[start:])
        event = fastavro.schemaless_reader(stream, schema.parsed, None)
        assert isinstance(event, dict)
        assert stream.tell() == len(value) - start
        found.append(Arrived(key, partition, offset, event))
    return found


def values_of(bootstrap: str, topic: str, partitions: int) -> list[bytes]:
    """Everything the topic holds, as it is."""
    return [message.value() or b"" for message in _messages(bootstrap, topic, partitions)]


def _messages(bootstrap: str, topic: str, partitions: int) -> Iterator[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    for partition in range(partitions):
        next_, high = _watermarks(consumer, TopicPartition(topic, partition))
        consumer.assign([TopicPartition(topic, partition, next_)])
        while next_ < high:
            for message in consumer.consume(min(1000, high - next_), 1.0):
                assert message.error() is None
                yield message
                next_ = (message.offset() or 0) + 1
    consumer.close()


def _watermarks(consumer: Consumer, place: TopicPartition) -> tuple[int, int]:
    """A topic just made has no leader for a moment."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return consumer.get_watermark_offsets(place, timeout=10)
        except KafkaException as error:
            if error.args[0].code() not in kafka.TRANSIENT or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
