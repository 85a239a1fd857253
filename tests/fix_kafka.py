"""A real Kafka for the session and uuid-named topics for each test."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from local.kafka import Kafka


class Broker(Protocol):
    """What a test needs to know of a cluster, ours or the user's."""

    @property
    def bootstrap(self) -> str: ...


@dataclass(frozen=True)
class BroughtKafka:
    bootstrap: str


@dataclass(frozen=True)
class Topics:
    """One test's pair of topics; ``partitions`` is that of ``events``, reports have one."""

    events: str
    reports: str
    partitions: int


@pytest.fixture(scope="session")
def kafka(state_dir: Path) -> Iterator[Broker]:
    """One broker for the session; FSMON_TEST_KAFKA names another."""
    brought = os.environ.get("FSMON_TEST_KAFKA")
    if brought:
        yield BroughtKafka(brought)
        return
    ours = Kafka(state_dir / "kafka")
    ours.start()
    yield ours
    ours.stop()


@pytest.fixture
def topics(kafka: Broker, request: pytest.FixtureRequest) -> Iterator[Topics]:
    """Fresh topics as `fsmon-producer topics create` makes them, deleted afterwards.

    Four partitions unless parametrized: ``@pytest.mark.parametrize("topics", [8], indirect=True)``.
    """
    partitions: int = getattr(request, "param", 4)
    name = f"test-{uuid.uuid4()}"
    pair = Topics(f"{name}.file-events", f"{name}.capture-reports", partitions)
    config = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    made = admin.create_topics(
        [
            NewTopic(pair.events, num_partitions=partitions, replication_factor=-1, config=config),
            NewTopic(pair.reports, num_partitions=1, replication_factor=-1, config=config),
        ]
    )
    for future in made.values():
        future.result(30)
    yield pair
    for future in admin.delete_topics([pair.events, pair.reports]).values():
        future.result(30)
