"""Publishes stamped messages to the session's one partition, and knows what was acknowledged.

Messages of one call are queued in order; the last of them carries a delivery callback. One
partition, idempotence and the gapless guarantee make its report mean: everything up to here is
acknowledged. After a fatal error no callback is trusted: the producer is thrown away, and what
was not acknowledged must be read and sent again.
"""

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from fsmon_schemas.errors import FatalError, RetryableError
from fsmon_schemas.framing import confluent_prefix, single_object_prefix
from fsmon_schemas.schema import CAPTURE_REPORT, FILE_EVENT, Schema

from fsmon_producer import kafka
from fsmon_producer.config import Config
from fsmon_producer.destination import Acknowledged, InterruptedPublishError
from fsmon_producer.partitioner import partition_of
from fsmon_producer.pins import Identity
from fsmon_producer.registry import Registry
from fsmon_producer.ring import Cursor
from fsmon_producer.topics import Topic, Topics, UnknownTopicError

_log = logging.getLogger(__name__)
# A batch of one adds at most 61 bytes of header and 41 of record (Kafka protocol guide, "Record Batch").
_RECORD_OVERHEAD = 102
_LOOK = 1.0  # seconds, before anything is begun: an absent cluster is asked again later
_LAST_WORDS = 0.1  # how long a dead producer may take to say why


@dataclass(frozen=True)
class Cluster:
    """Where a session's events and reports go."""

    bootstrap_servers: str
    topic: str
    reports_topic: str
    registry: str | None
    kafka: Mapping[str, str]


class Publisher:
    """Owns the Kafka producer of one session. Not thread-safe.

    ``connect`` until it returns True; then ``send`` whenever ``ready``, and ``poll`` all the time.
    """

    reports = True

    def __init__(
        self,
        cluster: Cluster,
        host_id: str,
        session: int,
        start: Cursor,
        *,
        partition: int | None = None,
        bind: Callable[[int], None] = lambda _: None,
        schema: Schema = FILE_EVENT,
    ) -> None:
        """``partition``: where the session's events went before; else ``bind`` is told it, before any goes.

        ``schema`` is that of the events.
        """
        self._to = cluster
        self._bind = bind
        self._schema = schema
        self._key = host_id.encode()
        self._report_key = f"{host_id}/{session}".encode()
        self._registry = Registry(cluster.registry) if cluster.registry else None
        self._topics: Topics | None = None
        self._producer: Producer | None = None
        self._partition = partition
        self._unsent: list[bytes] = []
        self._queued = start
        self._was_connected = False
        self._failure: KafkaError | None = None
        self._errors: list[KafkaError] = []
        self._outage = False
        self._named = ""
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
        """Whether all given to ``send`` is queued."""
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
            topic = self.look_up(seconds)
        except RetryableError as error:
            self._warn_of_outage(str(error))
            return False
        except FatalError as error:
            if not self._was_connected:
                raise
            self._warn_of_outage(str(error), by_name=True)
            return False
        self._was_connected = True
        if self._partition is None:
            self._partition = partition_of(self._key, topic.partitions)
            self._bind(self._partition)
            if faults := topic.faults():
                _log.warning("topic %s: %s (`fsmon-producer topics check`)", topic.name, "; ".join(faults))
        self.limit = topic.largest_message - _RECORD_OVERHEAD - len(self._key)
        settings = kafka.producer_settings(self._to.bootstrap_servers, self._to.kafka, topic.largest_message)
        try:
            self._producer = Producer({**settings, "error_cb": self._errors.append}, logger=kafka.CLIENT_LOG)
        except KafkaException as error:
            raise kafka.configuration_error(error) from error
        self._topics = None
        return True

    def look_up(self, seconds: float) -> Topic:
        """The events' topic; RetryableError while the cluster is away, FatalError as of ``connect``."""
        if self._topics is None:
            self._topics = Topics(self._to.bootstrap_servers, self._to.kafka)
        self._find_schemas()
        topic = self._topics.look_up(self._to.topic, seconds)
        self._topics.look_up(self._to.reports_topic, seconds)
        if self._partition is not None and self._partition >= topic.partitions:
            raise UnknownTopicError(
                f"topic {topic.name} has {topic.partitions} partitions, and this session belongs to "
                f"{self._partition}: add partitions, as before, or give it up by `fsmon-producer detach`"
            )
        return topic

    def _find_schemas(self) -> None:
        if self._registry is None:
            self.frame = single_object_prefix(self._schema)
            self._report_frame = single_object_prefix(CAPTURE_REPORT)
        elif not self.frame:
            frame = confluent_prefix(self._registry.schema_id(self._to.topic, self._schema))
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
        fatal = kafka.serve(self._producer, seconds)
        if fatal is not None:
            raise self._interrupted(fatal)
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

    def abandon(self) -> None:
        """Throw the producer away, and forget what is unacknowledged: some of it may arrive all the same."""
        self._producer = None
        self._unsent, self._failure, self._reports_queued = [], None, 0
        self._queued = self.acknowledged.cursor

    def close(self) -> None:
        """Throw the producer away with all it has queued."""
        self._producer = None

    def _interrupted(self, error: KafkaError) -> InterruptedPublishError | FatalError:
        dead, self._producer = self._producer, None
        if dead is not None and self._failure is None:
            kafka.serve(
                dead, _LAST_WORDS
            )  # a fatal error is general; a report of a message that failed names the cause
        cause = self._failure or error
        self._unsent, self._failure, self._reports_queued = [], None, 0
        self._queued = self.acknowledged.cursor
        refusal = kafka.refusal(cause)
        if refusal and (self.acknowledged.offset is None or not self.reports_acknowledged):
            return refusal
        return InterruptedPublishError(f"Kafka: {cause.str()}")

    def _delivered(self, end: Cursor, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = self._failure or error
        elif self._producer is not None:  # after a fatal error no acknowledgement is trusted
            self.acknowledged = Acknowledged(end, message.partition(), message.offset())
            self._note_answer()

    def _report_delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._reports_queued = 0
        if error is not None:
            self._failure = self._failure or error
        elif self._producer is not None:
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

    def _warn_of_outage(self, why: str, *, by_name: bool = False) -> None:
        """Once an outage, and again for every other cause that has a name."""
        if not self._outage or (by_name and why != self._named):
            self._outage = True
            self._named = why if by_name else ""
            _log.warning("%s; capturing goes on, events are kept and delivered later", why)

    def _note_answer(self) -> None:
        if self._outage:
            self._outage = False
            _log.warning("Kafka is back, delivering")


def must_be_known(config: Config) -> None:
    """FatalError where the cluster refuses us, or lacks the topics or schemas; while it is away, nothing."""
    cluster = _cluster(config, config.topic, config.reports_topic)
    with contextlib.suppress(RetryableError):
        Publisher(cluster, config.host_id or "", 0, Cursor(0, 0)).look_up(_LOOK)


def publisher_of(config: Config, identity: Identity, start: Cursor, bind: Callable[[int], None]) -> Publisher:
    """For a session's events, to where they were to go when it began, by the cluster of now."""
    cluster = _cluster(config, identity.topic, identity.reports_topic)
    session = identity.session
    return Publisher(
        cluster,
        session.host_id,
        session.id,
        start,
        partition=identity.partition,
        bind=bind,
        schema=Schema(identity.schema),
    )


def _cluster(config: Config, topic: str, reports_topic: str) -> Cluster:
    return Cluster(config.bootstrap_servers or "", topic, reports_topic, config.registry, config.kafka)
