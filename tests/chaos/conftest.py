"""Servers of our own for the rounds: they are killed, so nobody else's tests may use them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.rounds import Rounds
from chaos.scene import Ground
from local.kafka import Kafka
from local.postgres import Postgres

# A dead member is missed after 3 s instead of 10: rounds are short.
_GROUPS = {"group.consumer.session.timeout.ms": "3000"}


class Grounds:
    """By number of Kafka nodes; only one is kept at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._postgres = Postgres(directory / "chaos-postgres")
        self._kafka: Kafka | None = None

    def of(self, nodes: int) -> Ground:
        if self._kafka is None or len(self._kafka.nodes) != nodes:
            self._stop_kafka()
            self._kafka = Kafka(self._directory / f"chaos-kafka-{nodes}", nodes, _GROUPS)
            self._kafka.start()
        self._postgres.start()
        return Ground(self._kafka, self._postgres)

    def _stop_kafka(self) -> None:
        for node in self._kafka.nodes if self._kafka else ():
            node.kill()

    def stop(self) -> None:
        self._stop_kafka()
        self._postgres.stop()


@pytest.fixture(scope="session")
def grounds(state_dir: Path) -> Iterator[Grounds]:
    made = Grounds(state_dir)
    yield made
    made.stop()


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Rounds:
    return Rounds(request.node.name)
