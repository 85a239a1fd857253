"""The group member and what else is asked of Kafka: the only module that imports confluent_kafka.

A Source belongs to the polling thread alone: while one thread sits in consume(), another one's
question to the same client waits until that thread stops (seen with confluent-kafka 2.16.1). The
flushing thread asks through a Cluster. Kafka's committed offsets serve lag tools only; where to go
on stands in the database.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka import TopicCollection as Topics
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec

from fsmon_consumer.batch import LogSlice
from fsmon_consumer.claims import LogBounds
from fsmon_consumer.config import ConsumerConfig
from fsmon_schemas import ConfigError, FatalError, FsmonError, RetryableError

_log = logging.getLogger(__name__)
_librdkafka_log = logging.getLogger("librdkafka")
_librdkafka_log.setLevel(logging.CRITICAL)  # it repeats a refused connection every second; we say it once

Place = tuple[str, int]
_TIMEOUT = 10.0  # seconds for a question to the cluster
_REFUSED = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's own codes are named so
    KafkaError._SSL,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_AWAY = {KafkaError._ALL_BROKERS_DOWN}  # noqa: SLF001
_NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001


class KafkaAwayError(RetryableError):
    """No broker answers, or the one asked cannot now."""


def client_settings(config: ConsumerConfig) -> dict[str, Any]:
    """librdkafka's settings that every client of this side shares; ours first, the user's over them."""
    return {"bootstrap.servers": config.bootstrap_servers, "logger": _librdkafka_log, **config.kafka}


class Cluster:
    """Questions to the cluster that need no group member."""

    def __init__(self, config: ConsumerConfig) -> None:
        self._config = config
        self._refusal: list[FatalError] = []
        settings = client_settings(config) | {"error_cb": self._heard}
        # Given for the consumer, they would be warned about here.
        self._admin = _made(
            AdminClient, {key: value for key, value in settings.items() if not _consumer_only(key)}
        )

    def _heard(self, error: KafkaError) -> None:
        if error.code() in _REFUSED:
            self._refusal.append(_refusal(error))

    def cluster_id(self) -> str:
        """The cluster's id; KafkaAwayError when no broker answers, FatalError when refused."""
        return str(self._answer(lambda: self._admin.list_topics(timeout=5).cluster_id))

    def topic_id(self, topic: str) -> str:
        """The topic's id, which a topic made anew under the same name does not share."""

        def ask() -> str:
            found = self._admin.describe_topics(Topics([topic]), request_timeout=_TIMEOUT)[topic].result(
                _TIMEOUT
            )
            return str(found.topic_id)

        return str(self._answer(ask))

    def group_protocol(self) -> str:
        """``consumer`` (KIP-848) where the configuration or the broker's own says so, else ``classic``."""
        if self._config.group_protocol != "auto":
            return self._config.group_protocol

        def ask() -> str:
            broker = next(iter(self._admin.list_topics(timeout=5).brokers))
            resource = ConfigResource(ConfigResource.Type.BROKER, str(broker))
            found = self._admin.describe_configs([resource], request_timeout=_TIMEOUT)[resource].result(
                _TIMEOUT
            )
            entry = found.get("group.coordinator.rebalance.protocols")
            return str(entry.value) if entry is not None else ""

        try:
            offered = str(self._answer(ask))
        except FatalError as error:
            offered = ""
            _log.warning("the broker does not tell which group protocols it has (%s)", error)
        protocol = "consumer" if "consumer" in offered.replace(" ", "").split(",") else "classic"
        _log.info("group protocol %s (the broker offers %s)", protocol, offered or "what it does not say")
        return protocol

    def log_bounds(self, place: Place) -> LogBounds:
        """The topic's id, and the partition's first and next offset, as the broker has them."""
        topic_id = self.topic_id(place[0])
        start, end = (
            self._offsets([place], spec)[place] for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
        return LogBounds(topic_id, start, end)

    def end_offsets(self, topics: Iterable[str]) -> dict[Place, int]:
        """The offset that the next message of each partition will get."""

        def ask() -> list[Place]:
            found = self._admin.list_topics(timeout=5).topics
            return [
                (topic, partition)
                for topic in topics
                if topic in found
                for partition in found[topic].partitions
            ]

        return self._offsets(self._answer(ask), OffsetSpec.latest())

    def committed_by(self, place: Place) -> str | None:
        """The database id in the group's committed metadata of a partition."""
        request = ConsumerGroupTopicPartitions(self._config.group, [TopicPartition(*place)])

        def ask() -> str | None:
            [future] = self._admin.list_consumer_group_offsets([request], request_timeout=_TIMEOUT).values()
            [found] = future.result(_TIMEOUT).topic_partitions
            return found.metadata or None

        committed: str | None = self._answer(ask)
        return committed

    def _offsets(self, places: list[Place], spec: OffsetSpec) -> dict[Place, int]:
        def ask() -> dict[Place, int]:
            futures = self._admin.list_offsets(
                {TopicPartition(*place): spec for place in places}, request_timeout=_TIMEOUT
            )
            return {
                (each.topic, each.partition): future.result(_TIMEOUT).offset
                for each, future in futures.items()
            }

        offsets: dict[Place, int] = self._answer(ask) if places else {}
        return offsets

    def _answer(self, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever was asked
        try:
            return ask()
        except KafkaException as error:
            if self._refusal:
                raise self._refusal[0] from error
            raise _sorted(error) from error
        except TimeoutError as error:
            raise KafkaAwayError(
                f"Kafka at {self._config.bootstrap_servers} does not answer in time"
            ) from error


class Source:
    """One member of the group: hands out log slices, and news of what it was given and lost."""

    def __init__(
        self,
        config: ConsumerConfig,
        protocol: str,
        *,
        on_assigned: Callable[[list[Place]], None],
        on_revoked: Callable[[list[Place]], None],
    ) -> None:
        """The callbacks run inside ``poll`` and must return at once; partitions start paused."""
        self._config = config
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._fatal: FatalError | None = None
        self._away = False
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
        self._consumer = _made(Consumer, settings | client_settings(config))
        self._consumer.subscribe(
            [config.topic, config.reports_topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )

    def poll(self, rows: int, timeout: float) -> dict[Place, LogSlice]:
        """Messages that arrive within ``timeout`` seconds, at most ``rows``; generations are all 0."""
        found: dict[Place, LogSlice] = {}
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
        if self._fatal is not None:
            raise self._fatal
        if self._away and found:
            self._back()
        return found

    def check(self) -> None:
        """Where Kafka was away, see whether it is back (up to a second)."""
        if self._away:
            try:
                self._consumer.list_topics(timeout=1)
            except KafkaException:
                return
            self._back()

    def start_at(self, place: Place, offset: int) -> None:
        """Let a paused partition flow from ``offset``."""
        self._consumer.seek(TopicPartition(*place, offset))
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
        if error.code() in _REFUSED:
            self._fatal = _refusal(error)
        elif error.fatal():
            self._fatal = FatalError(f"Kafka's client cannot go on: {error.str()}; restart fsmon-consumer")
        elif error.code() in _AWAY and not self._away:
            self._away = True
            _log.warning(
                "no Kafka broker answers at %s; waiting for it (check that it runs, and --bootstrap-servers)",
                self._config.bootstrap_servers,
            )

    def _back(self) -> None:
        self._away = False
        _log.info("Kafka is back")

    def _message_error(self, message: Message) -> None:
        error = message.error()
        assert error is not None
        if error.code() in _REFUSED:
            raise _refusal(error)
        if error.code() in _NO_TOPIC:
            _log.warning(
                "Kafka has no topic %s; waiting for it (fsmon-producer topics create makes it)",
                message.topic(),
            )
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            place = str(message.topic()), int(message.partition() or 0)
            _log.warning("%s[%d]: the log no longer has the offset wanted; claiming it again", *place)
            self._on_revoked([place])
            self.pause([place])
            self._on_assigned([place])
        else:
            _log.warning("Kafka: %s", error.str())


def _made(client: Callable[[dict[str, Any]], Any], settings: dict[str, Any]) -> Any:  # noqa: ANN401 - one of theirs
    try:
        return client(settings)
    except KafkaException as error:
        raise ConfigError(f"--kafka: {error.args[0].str()}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"--kafka: {error}") from error


def _consumer_only(key: str) -> bool:
    return key.startswith(
        ("group.", "fetch.", "queued.", "auto.offset", "max.poll", "session.timeout", "heartbeat")
    )


def _refusal(error: KafkaError) -> FatalError:
    return FatalError(
        f"Kafka refuses us: {error.str()}; check the security.protocol, sasl.* and ssl.* settings given "
        "by --kafka, and the ACLs of topics and group"
    )


def _sorted(error: KafkaException) -> FsmonError:
    cause: KafkaError = error.args[0]
    if cause.code() in _REFUSED:
        return _refusal(cause)
    return KafkaAwayError(f"Kafka: {cause.str()}")
