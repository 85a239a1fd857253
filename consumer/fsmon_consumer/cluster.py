"""Questions to the Kafka cluster, which need no member of the group.

cluster.py and source.py are the only modules that import confluent_kafka.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import TopicCollection as Topics
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec  # type: ignore[attr-defined]
from fsmon_schemas import ConfigError, FatalError, FsmonError, RetryableError

from fsmon_consumer.claims import LogBounds
from fsmon_consumer.config import ConsumerConfig
from fsmon_consumer.place import Place

_log = logging.getLogger(__name__)

_TIMEOUT = 10.0  # seconds for a question to the cluster
REFUSED = {
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class KafkaAwayError(RetryableError):
    """No broker answers, or the one asked cannot now."""


def client_settings(config: ConsumerConfig) -> dict[str, Any]:
    """Librdkafka's settings that every client of this side shares; ours first, the user's over them."""
    # librdkafka's own log repeats a refused connection every second; we say it once.
    return {"bootstrap.servers": config.bootstrap_servers, "log_level": 0, **config.kafka}


def beside_the_group(config: ConsumerConfig) -> dict[str, Any]:
    """The same for a consumer that never joins: what one protocol asks of members, the other refuses."""
    members = ("group.", "max.poll.interval", "session.timeout", "heartbeat")
    return {key: value for key, value in client_settings(config).items() if not key.startswith(members)}


class Cluster:
    """Questions to the cluster that need no group member."""

    def __init__(self, config: ConsumerConfig) -> None:
        self._config = config
        self._refusal: list[FatalError] = []
        self._admin = self._client()
        self._onlooker: Any = None

    def _client(self) -> Any:
        settings = client_settings(self._config) | {"error_cb": self._heard}
        # Given for the consumer, they would be warned about here.
        return made(AdminClient, {key: value for key, value in settings.items() if not _consumer_only(key)})

    def _heard(self, error: KafkaError) -> None:
        if error.code() in REFUSED:
            self._refusal.append(refusal(error))

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
        start, end = (self._listed([place], spec)[place] for spec in (_EARLIEST, _LATEST))
        return LogBounds(topic_id, start.offset, end.offset, end.leader_epoch)

    def absent(self, topics: Iterable[str]) -> set[str]:
        """Those of ``topics`` that do not exist, or that we are not allowed to see."""
        return set(topics) - set(self._answer(lambda: self._admin.list_topics(timeout=5).topics))

    def require(self, topics: Iterable[str]) -> None:
        """FatalError naming the topics that do not exist."""
        absent = self.absent(topics)
        if absent:
            named = " and no topic ".join(sorted(absent))
            raise FatalError(
                f"Kafka at {self._config.bootstrap_servers} has no topic {named}, or does not show it "
                "to us: check the names given; fsmon-producer topics create makes them"
            )

    def end_offsets(self, topics: Iterable[str]) -> dict[Place, int]:
        """The offset that the next message of each partition will get."""
        listed = self._listed(self._answer(lambda: self._partitions_of(topics)), _LATEST)
        return {place: found.offset for place, found in listed.items()}

    def committed_by(self) -> dict[Place, str]:
        """The database ids in the group's committed metadata, of all our topics' partitions that have one.

        Asked by a consumer that never joins: librdkafka 2.16's list_consumer_group_offsets crashes
        the process when a broker answers that it is not the coordinator (librdkafka issue 5040).
        """

        def ask() -> dict[Place, str]:
            places = self._partitions_of((self._config.topic, self._config.reports_topic))
            if not places:
                return {}
            if self._onlooker is None:
                settings = {"group.id": self._config.group, "enable.auto.commit": False}
                self._onlooker = made(Consumer, beside_the_group(self._config) | settings)
            found = self._onlooker.committed([TopicPartition(*each) for each in places], timeout=_TIMEOUT)
            for each in found:
                if each.error is not None:
                    raise KafkaException(each.error)
            return {(each.topic, each.partition): each.metadata for each in found if each.metadata}

        committed: dict[Place, str] = self._answer(ask)
        return committed

    def _partitions_of(self, topics: Iterable[str]) -> list[Place]:
        found = self._admin.list_topics(timeout=5).topics
        return [
            (topic, partition) for topic in topics if topic in found for partition in found[topic].partitions
        ]

    def _listed(self, places: list[Place], spec: OffsetSpec) -> dict[Place, Any]:
        def ask() -> dict[Place, Any]:
            futures = self._admin.list_offsets(
                {TopicPartition(*place): spec for place in places}, request_timeout=_TIMEOUT
            )
            return {(each.topic, each.partition): future.result(_TIMEOUT) for each, future in futures.items()}

        listed: dict[Place, Any] = self._answer(ask) if places else {}
        return listed

    def _answer(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except KafkaException as error:
            self._admin.poll(0)  # serves error_cb: only there stands that it was our credentials
            self._renew()
            if self._refusal:
                raise self._refusal[0] from error
            raise self._sorted(error) from error
        except TimeoutError as error:
            self._renew()
            raise self._away("does not answer in time") from error

    def _renew(self) -> None:
        """After a broker's restart a client may for ever ask a coordinator that is gone (librdkafka 2.16)."""
        self._admin, self._onlooker = self._client(), None

    def _sorted(self, error: KafkaException) -> FsmonError:
        cause: KafkaError = error.args[0]
        return refusal(cause) if cause.code() in REFUSED else self._away(f"does not answer: {cause.str()}")

    def _away(self, how: str) -> KafkaAwayError:
        return KafkaAwayError(
            f"Kafka at {self._config.bootstrap_servers} {how}; check that it runs, and --bootstrap-servers"
        )


def made(client: Callable[[dict[str, Any]], Any], settings: dict[str, Any]) -> Any:
    """A client of theirs; ConfigError where it does not take the settings."""
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


def refusal(error: KafkaError) -> FatalError:
    """The error for a broker that will not have us."""
    return FatalError(
        f"Kafka refuses us: {error.str()}; check the security.protocol, sasl.* and ssl.* settings given "
        "by --kafka, and the ACLs of topics and group"
    )
