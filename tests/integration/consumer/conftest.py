"""A migrated database, a pair of topics and a fleet of simulated hosts for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fix_kafka import Broker, Topics
from fsmon_consumer.migrate import migrate
from fsmon_consumer.store import Database
from generator import Fleet
from integration.consumer.running import Site


@pytest.fixture
def site(kafka: Broker, topics: Topics, database: str, tmp_path: Path) -> Site:
    made = Site(kafka.bootstrap, topics.events, topics.reports, database, tmp_path)
    made.migrate()
    return made


@pytest.fixture
def make_fleet(kafka: Broker, topics: Topics) -> Callable[..., Fleet]:
    def make(hosts: int = 4, **options: Any) -> Fleet:
        return Fleet(
            kafka.bootstrap,
            topics.events,
            topics.reports,
            hosts=hosts,
            partitions=topics.partitions,
            **options,
        )

    return make


@pytest.fixture
def opened(database: str) -> Iterator[Database]:
    made = Database(database, role="test")
    made.connect()
    migrate(made)
    yield made
    made.close()
