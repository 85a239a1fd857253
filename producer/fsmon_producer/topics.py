"""The topics: looked up before publishing, created and checked by ``fsmon-producer topics``."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic
from fsmon_schemas.errors import FatalError, RetryableError

from fsmon_producer import kafka

_SMALLEST_LIMIT = 4096  # a stub with its frame, names and key is far smaller; less is a mistake


@dataclass(frozen=True)
class Topic:
    """A topic as the cluster has it."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]

    @property
    def largest_message(self) -> int:
        """The topic's max.message.bytes: a batch may not be larger."""
        return int(self.settings["max.message.bytes"])

    def faults(self) -> list[str]:
        """What would lose events or keep them wrongly, each with what to do."""
        wanted = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}
        faults = [
            f"{key} is {self.settings.get(key)}, should be {value}"
            for key, value in wanted.items()
            if self.settings.get(key) != value
        ]
        if self.replication >= 3 and int(self.settings["min.insync.replicas"]) < 2:
            faults.append("min.insync.replicas is 1, should be at least 2: a broker's loss could lose events")
        if self.largest_message < _SMALLEST_LIMIT:
            faults.append(
                f"max.message.bytes is {self.largest_message}, should be at least {_SMALLEST_LIMIT}"
            )
        return faults


class UnknownTopicError(FatalError):
    """A topic is not there; nothing creates it but ``topics create``."""


class Topics:
    """Administers one cluster. Every call blocks at most ``seconds``; RetryableError if it is away."""

    def __init__(self, bootstrap_servers: str, extra: Mapping[str, str]) -> None:
        # A list, not a method of ours: the client would keep us, and we the client, alive.
        self._errors: list[KafkaError] = []
        settings: dict[str, Any] = {
            **kafka.client_settings(bootstrap_servers, extra),
            "error_cb": self._errors.append,
        }
        try:
            self._admin = AdminClient(settings, logger=kafka.CLIENT_LOG)
        except KafkaException as error:
            raise kafka.configuration_error(error) from error

    def look_up(self, name: str, seconds: float) -> Topic:
        """The topic's partitions and settings; UnknownTopicError where there is none."""
        deadline = time.monotonic() + seconds
        found = self._call(lambda: self._admin.list_topics(name, timeout=seconds)).topics[name]
        if found.error is not None:
            raise self._failure(name, found.error)
        if not found.partitions:
            raise RetryableError(f"topic {name} has no partitions yet")
        resource = ConfigResource(ConfigResource.Type.TOPIC, name)
        left = max(0.1, deadline - time.monotonic())
        future = self._admin.describe_configs([resource], request_timeout=left)[resource]
        entries: Any = self._call(future.result)
        return Topic(
            name,
            len(found.partitions),
            min(len(partition.replicas) for partition in found.partitions.values()),
            {key: str(entry.value) for key, entry in entries.items()},
        )

    def wait_for(self, name: str, seconds: float) -> Topic:
        """As ``look_up``, for a topic that may just have been created: brokers learn of it by and by."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.look_up(name, seconds)
            except (UnknownTopicError, RetryableError):
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)

    def brokers(self, seconds: float) -> int:
        """How many brokers the cluster has."""
        return len(self._call(lambda: self._admin.list_topics(timeout=seconds)).brokers)

    def create(self, name: str, partitions: int, replication: int, seconds: float) -> bool:
        """Create the topic with the settings fsmon needs; False if it is there already."""
        settings = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}
        if replication >= 3:
            settings["min.insync.replicas"] = "2"
        topic = NewTopic(name, partitions, replication, config=settings)
        future = self._admin.create_topics([topic], request_timeout=seconds)[name]
        try:
            self._call(future.result)
        except TopicExistsError:
            return False
        return True

    def _call(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except KafkaException as error:
            # Why a connection fails is told to the error callback, which runs inside poll.
            self._admin.poll(0)
            told, self._errors[:] = list(self._errors), []
            for reason in told:
                if refusal := kafka.refusal(reason):
                    raise refusal from error
            cause = kafka.error_of(error)
            if told and cause.code() in kafka.TRANSIENT:
                raise kafka.away(kafka.most_telling(told)) from error
            raise self._failure("", cause) from error

    def _failure(self, name: str, error: KafkaError) -> Exception:
        if error.code() in kafka.UNKNOWN_TOPIC:
            return UnknownTopicError(
                f"topic {name} does not exist: run `fsmon-producer topics create` with the same "
                "--bootstrap-servers, --topic and --reports-topic"
            )
        if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return TopicExistsError(error.str())
        if error.code() in kafka.TRANSIENT:
            return kafka.away(error)
        return kafka.refusal(error) or FatalError(f"Kafka: {error.str()}")


class TopicExistsError(FatalError):
    """The topic to be created is there already."""
