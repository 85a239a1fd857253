"""Reading from Kafka: as a member of the consumer group, or following a topic beside it.

A Source belongs to the polling thread alone: while one thread sits in consume(), another one's
question to the same client waits until that thread stops (seen with confluent-kafka 2.16.1). The
flushing thread asks through a Cluster. Kafka's committed offsets serve lag tools only; where to go
on stands in the database.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from fsmon_schemas import FatalError

from fsmon_consumer.batch import LogSlice
from fsmon_consumer.claims import BY_HAND
from fsmon_consumer.cluster import REFUSED, Cluster, beside_the_group, client_settings, made, refusal
from fsmon_consumer.config import ConsumerConfig
from fsmon_consumer.outage import Outage
from fsmon_consumer.place import Place

_log = logging.getLogger(__name__)

_AWAY = {KafkaError._ALL_BROKERS_DOWN}
_NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}


class Source:
    """One member of the group: hands out log slices, and news of what it was given and lost."""

    def __init__(
        self,
        config: ConsumerConfig,
        protocol: str,
        *,
        on_assigned: Callable[[list[Place]], None],
        on_revoked: Callable[[list[Place]], None],
        on_truncated: Callable[[Place, str], None],
    ) -> None:
        """The callbacks run inside ``poll`` and must return at once; partitions start paused."""
        self._config = config
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_truncated = on_truncated
        self._fatal: FatalError | None = None
        self._outage = Outage(config.bootstrap_servers)
        settings: dict[str, Any] = {
            "group.id": config.group,
            "group.protocol": protocol,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # Never used in order: each partition is sought to the database's offset. If ever it would
            # be, that is an error to report, not a silent jump.
            "auto.offset.reset": "error",
            "topic.metadata.refresh.interval.ms": 10_000,
            "queued.max.messages.kbytes": 32_768,
            "fetch.message.max.bytes": 4_194_304,
            "error_cb": self._heard,
        }
        if protocol == "classic":
            settings["partition.assignment.strategy"] = "cooperative-sticky"
        self._consumer = made(Consumer, settings | client_settings(config))
        self._consumer.subscribe(
            [config.topic, config.reports_topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )

    def poll(self, rows: int, timeout: float) -> dict[Place, LogSlice]:
        """Messages that arrive within ``timeout`` seconds, at most ``rows``; generations are all 0."""
        found: dict[Place, LogSlice] = {}
        newest: dict[Place, Message] = {}
        for message in self._consumer.consume(rows, timeout):
            if message.error() is not None:
                self._message_error(message)
                continue
            place = message.topic(), message.partition()
            piece = found.get(place)
            if piece is None:
                piece = found[place] = LogSlice(*place, 0)
            piece.keys.append(message.key())
            piece.values.append(message.value())
            piece.offsets.append(message.offset())
            newest[place] = message
        for place, message in newest.items():
            found[place].leader_epoch = message.leader_epoch()
        if self._fatal is not None:
            raise self._fatal
        if found:
            self._outage.end()
        return found

    def check(self) -> None:
        """Where Kafka was away, see whether it is back (up to a second)."""
        _look_up(self._consumer, self._outage)

    def start_at(self, place: Place, offset: int, leader_epoch: int | None) -> None:
        """Let a paused partition flow from ``offset``, behind a message of ``leader_epoch``."""
        goal = TopicPartition(*place, offset)
        if leader_epoch is not None:
            goal = TopicPartition(*place, offset, leader_epoch=leader_epoch)
        self._consumer.seek(goal)
        self._consumer.resume([TopicPartition(*place)])

    def pause(self, places: Iterable[Place]) -> None:
        """Fetch nothing more of these partitions."""
        self._consumer.pause([TopicPartition(*place) for place in places])

    def resume(self, places: Iterable[Place]) -> None:
        """Go on where ``pause`` stopped."""
        self._consumer.resume([TopicPartition(*place) for place in places])

    def commit(self, next_offsets: Mapping[Place, int], database_id: str) -> None:
        """Tell Kafka how far the database is, for lag tools; nobody waits for it."""
        offsets = [
            TopicPartition(topic, partition, offset, database_id)
            for (topic, partition), offset in next_offsets.items()
        ]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _log.debug("committing to Kafka failed: %s", error)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            partition.offset = OFFSET_BEGINNING  # paused before a byte is fetched, sought before it flows
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        self._on_assigned([(partition.topic, partition.partition) for partition in partitions])

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoked([(partition.topic, partition.partition) for partition in partitions])
        consumer.incremental_unassign(partitions)

    def _heard(self, error: KafkaError) -> None:
        if error.code() in REFUSED:
            self._fatal = refusal(error)
        elif error.fatal():
            self._fatal = FatalError(f"Kafka's client cannot go on: {error.str()}; restart fsmon-consumer")
        elif error.code() in _AWAY:
            self._outage.begin()

    def _message_error(self, message: Message) -> None:
        error = message.error()
        assert error is not None
        if error.code() in REFUSED:
            raise refusal(error)
        if error.code() in _NO_TOPIC:
            return  # only the classic protocol tells: absent.py says it for both
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            place = str(message.topic()), int(message.partition() or 0)
            if "truncat" in error.str():  # of KIP-320's check only the text tells
                self.pause([place])
                self._on_truncated(place, f"{error.str()}. {BY_HAND}")
                return
            _log.warning("%s[%d]: the log no longer has the offset wanted; claiming it again", *place)
            self._on_revoked([place])
            self.pause([place])
            self._on_assigned([place])
        else:
            _log.warning("Kafka: %s", error.str())


def follow(config: ConsumerConfig, *, from_beginning: bool) -> Generator[bytes | None, None, None]:
    """The event topic's message values as they come, of all partitions; nothing is joined or committed.

    Yields None about every quarter of a second without messages, so that the caller can look up.
    """
    cluster = Cluster(config)
    cluster.require([config.topic])
    places = list(cluster.end_offsets([config.topic]))
    outage, refusals = Outage(config.bootstrap_servers), list[FatalError]()

    def heard(error: KafkaError) -> None:
        if error.code() in _AWAY:
            outage.begin()
        elif error.code() in REFUSED:
            refusals.append(refusal(error))

    ours = {"group.id": f"{config.group}-tail", "enable.auto.commit": False, "error_cb": heard}
    consumer = made(Consumer, beside_the_group(config) | ours)
    try:
        start = OFFSET_BEGINNING if from_beginning else OFFSET_END
        consumer.assign([TopicPartition(*place, start) for place in places])
        while True:
            messages = consumer.consume(500, 0.25)
            if refusals:
                raise refusals[0]
            if not messages:
                _look_up(consumer, outage)
                yield None
            for message in messages:
                error = message.error()
                if error is None:
                    outage.end()
                    yield message.value() or b""
                elif error.code() in REFUSED:
                    raise refusal(error)
    finally:
        consumer.close()


def _look_up(consumer: Consumer, outage: Outage) -> None:
    """Where Kafka was away, see whether it is back (up to a second)."""
    if outage.lasts:
        try:
            consumer.list_topics(timeout=1)
        except KafkaException:
            return
        outage.end()
