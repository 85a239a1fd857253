"""Publishes stamped messages to the session's one partition, and knows what was acknowledged.

Messages of one call are queued in order; the last of them carries a delivery callback. One
partition, idempotence and the gapless guarantee make its report mean: everything up to here is
acknowledged. After a fatal error no callback is trusted: the producer is thrown away, and what
was not acknowledged must be read and sent again.
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from fsmon_schemas.errors import FatalError, RetryableError
from fsmon_schemas.framing import confluent_prefix, single_object_prefix
from fsmon_schemas.schema import CAPTURE_REPORT, FILE_EVENT

from fsmon_producer import kafka
from fsmon_producer.destination import Acknowledged, InterruptedPublishError
from fsmon_producer.registry import Registry
from fsmon_producer.ring import Cursor
from fsmon_producer.topics import Topics, UnknownTopicError

_log = logging.getLogger(__name__)
# What a batch of one adds to key and value: 61 bytes of batch header and at most 41 of record
# (Kafka protocol guide, "Record Batch").
_RECORD_OVERHEAD = 102


@dataclass(frozen=True)
class Cluster:
    """Where a session's events and reports go."""

    bootstrap_servers: str
    topic: str
    reports_topic: str
    registry: str | None
    kafka: Mapping[str, str]


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's default partitioner: toPositive(murmur2(key)) mod partitions (clients, Utils.java)."""
    mask, mix = 0xFFFFFFFF, 0x5BD1E995
    digest = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(key[start : start + 4], "little") * mix & mask
        word = (word ^ word >> 24) * mix & mask
        digest = (digest * mix & mask) ^ word
    if whole < len(key):
        digest = (digest ^ int.from_bytes(key[whole:], "little")) * mix & mask
    digest = (digest ^ digest >> 13) * mix & mask
    return ((digest ^ digest >> 15) & 0x7FFFFFFF) % partitions


class Publisher:
    """Owns the Kafka producer of one session. Not thread-safe.

    ``connect`` until it returns True; then ``send`` whenever ``ready``, and ``poll`` all the time.
    """

    reports = True

    def __init__(self, cluster: Cluster, host_id: str, session: int, start: Cursor) -> None:
        self._to = cluster
        self._key = host_id.encode()
        self._report_key = f"{host_id}/{session}".encode()
        self._registry = Registry(cluster.registry) if cluster.registry else None
        self._topics: Topics | None = None
        self._producer: Producer | None = None
        self._partition: int | None = None
        self._unsent: list[bytes] = []
        self._queued = start
        self._failure: KafkaError | None = None
        self._errors: list[KafkaError] = []
        self._outage = False
        self._reports_queued = 0
        self.acknowledged = Acknowledged(start)
        self.reports_acknowledged = 0
        self.frame = self._report_frame = b""
        self.limit = 0

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""
        return self._producer is not None

    @property
    def ready(self) -> bool:
        """Whether all that was given to ``send`` is queued."""
        return self._producer is not None and not self._unsent

    @property
    def settled(self) -> bool:
        """Whether nothing is unacknowledged, reports included."""
        return not self._unsent and self.acknowledged.cursor == self._queued and self._reports_queued == 0

    def connect(self, seconds: float) -> bool:
        """Look the topics and schemas up, fix partition, frames and limit; False while the cluster is away.

        FatalError where it refuses us or something is missing, until the first success; after
        it, that may be a broker in the middle of its start and is tried again.
        """
        try:
            if self._topics is None:
                self._topics = Topics(self._to.bootstrap_servers, self._to.kafka)
            self._find_schemas()
            topic = self._topics.look_up(self._to.topic, seconds)
            self._topics.look_up(self._to.reports_topic, seconds)
        except RetryableError as error:
            self._warn_of_outage(str(error))
            return False
        except FatalError as error:
            if self._partition is None:
                raise
            self._warn_of_outage(str(error))
            return False
        if self._partition is None:
            self._partition = partition_of(self._key, topic.partitions)
        elif self._partition >= topic.partitions:
            raise UnknownTopicError(
                f"topic {topic.name} was made again with {topic.partitions} partitions, this session "
                f"belongs to partition {self._partition}: restart the producer to begin a new session"
            )
        faults = topic.faults()
        if faults:
            _log.warning("topic %s: %s (`fsmon-producer topics check`)", topic.name, "; ".join(faults))
        self.limit = topic.largest_message - _RECORD_OVERHEAD - len(self._key)
        settings = kafka.producer_settings(self._to.bootstrap_servers, self._to.kafka, topic.largest_message)
        self._producer = Producer({**settings, "error_cb": self._errors.append}, logger=kafka.CLIENT_LOG)
        self._topics = None
        return True

    def _find_schemas(self) -> None:
        if self._registry is None:
            self.frame = single_object_prefix(FILE_EVENT)
            self._report_frame = single_object_prefix(CAPTURE_REPORT)
        elif not self.frame:
            frame = confluent_prefix(self._registry.schema_id(self._to.topic, FILE_EVENT))
            self._report_frame = confluent_prefix(
                self._registry.schema_id(self._to.reports_topic, CAPTURE_REPORT)
            )
            self.frame = frame

    def send(self, messages: list[bytes], end: Cursor) -> None:
        """Queue the messages in order; ``end`` is acknowledged with the last. Takes the list over."""
        self._unsent = messages
        self._queued = end
        self._push()

    def _push(self) -> None:
        if not self._unsent:
            return
        assert self._producer is not None
        produce, topic, key, partition = self._producer.produce, self._to.topic, self._key, self._partition
        assert partition is not None
        last = self._unsent.pop()
        rest = iter(self._unsent)
        message = last
        try:
            for message in rest:
                produce(topic, message, key, partition)
            message = last
            produce(topic, last, key, partition, partial(self._delivered, self._queued))
        except BufferError:
            self._unsent = [last] if message is last else [message, *rest, last]
        except KafkaException as error:
            raise self._interrupted(kafka.error_of(error)) from error
        else:
            self._unsent = []

    def send_report(self, body: bytes) -> bool:
        """Queue a report, unless an older one is still on its way; says whether it did."""
        if self._producer is None or self._reports_queued:
            return False
        try:
            self._producer.produce(
                self._to.reports_topic,
                self._report_frame + body,
                self._report_key,
                on_delivery=self._report_delivered,
            )
        except BufferError:
            return False
        except KafkaException as error:
            raise self._interrupted(kafka.error_of(error)) from error
        self._reports_queued = 1
        return True

    def poll(self, seconds: float) -> None:
        """Serve callbacks, waiting at most ``seconds`` for one, and queue what did not fit before.

        InterruptedPublishError after a failure that only a new producer mends.
        """
        if self._producer is None:
            return
        raised: object = None
        try:
            self._producer.poll(seconds)
        except:  # noqa: E722 - a fatal error is raised as a KafkaError, which is no BaseException
            raised = sys.exc_info()[1]
        # Outside the except clause, or the KafkaError would become the __context__ of what is raised.
        if isinstance(raised, KafkaException):
            raised = kafka.error_of(raised)
        if isinstance(raised, KafkaError):
            raise self._interrupted(raised)
        if isinstance(raised, BaseException):
            raise raised
        if self._failure is not None:
            raise self._interrupted(self._failure)
        if self._errors:
            self._note_errors()
        if self.acknowledged.cursor.seq == self._queued.seq:
            # Records behind the last event that the kernel discarded need no acknowledgement.
            self.acknowledged = Acknowledged(
                self._queued, self.acknowledged.partition, self.acknowledged.offset
            )
        self._push()

    def close(self) -> None:
        """Throw the producer away with all it has queued."""
        self._producer = None

    def _interrupted(self, error: KafkaError) -> InterruptedPublishError:
        self._producer = None
        self._unsent, self._failure, self._reports_queued = [], None, 0
        self._queued = self.acknowledged.cursor
        return InterruptedPublishError(f"Kafka: {error.str()}")

    def _delivered(self, end: Cursor, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = error
            return
        self.acknowledged = Acknowledged(end, message.partition(), message.offset())
        self._note_answer()

    def _report_delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._reports_queued = 0
        if error is not None:
            self._failure = error
            return
        self.reports_acknowledged += 1
        self._note_answer()

    def _note_errors(self) -> None:
        """Tell what was told to the error callback: only that no broker is left, or a refusal, matters."""
        told, self._errors[:] = list(self._errors), []
        refusals = [refusal for refusal in map(kafka.refusal, told) if refusal]
        if refusals:
            self._warn_of_outage(str(refusals[0]))
        elif any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in told):
            self._warn_of_outage(str(kafka.away(kafka.most_telling(told))))

    def _warn_of_outage(self, why: str) -> None:
        if not self._outage:
            self._outage = True
            _log.warning("%s; capturing goes on, events are kept in the ring and delivered later", why)

    def _note_answer(self) -> None:
        if self._outage:
            self._outage = False
            _log.warning("Kafka is back, delivering")
