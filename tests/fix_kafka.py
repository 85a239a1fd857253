"""A real Kafka for the session and uuid-named topics for each test."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def fresh_topics(bootstrap: str, partitions: int, report_partitions: int = 1) -> Iterator[Topics]:
    """Topics as `fsmon-producer topics create` makes them, deleted afterwards."""
    name = f"test-{uuid.uuid4()}"
    pair = Topics(f"{name}.file-events", f"{name}.capture-reports", partitions)
    config = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics(
        [
            NewTopic(topic, num_partitions=count, replication_factor=-1, config=config)
            for topic, count in ((pair.events, partitions), (pair.reports, report_partitions))
        ]
    )
    for future in made.values():
        future.result(30)
    yield pair
    for future in admin.delete_topics([pair.events, pair.reports]).values():
        future.result(30)


@pytest.fixture
def topics(kafka: Broker, request: pytest.FixtureRequest) -> Iterator[Topics]:
    """One test's topics.

    Four partitions unless parametrized: ``@pytest.mark.parametrize("topics", [8], indirect=True)``.
    """
    with fresh_topics(kafka.bootstrap, getattr(request, "param", 4)) as pair:
        yield pair
