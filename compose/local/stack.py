"""The three services together, as ``make up`` and ``make demo`` run them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from local.kafka import Kafka
from local.places import SERVICES
from local.postgres import Postgres
from local.registry import Registry


class Stack:
    """One broker, the registry and PostgreSQL 18 with their data below ``directory``."""

    def __init__(self, directory: Path = SERVICES) -> None:
        self.kafka = Kafka(directory / "kafka")
        self.registry = Registry(directory / "registry")
        self.postgres = Postgres(directory / "postgres")

    def start(self) -> None:
        """Start what does not run yet, all at a time; raises ServiceError."""
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(s.start) for s in (self.kafka, self.registry, self.postgres)]:
                started.result()

    def stop(self) -> None:
        """Stop what runs; the data stays."""
        for service in (self.registry, self.kafka, self.postgres):
            service.stop()

    def environment(self) -> dict[str, str]:
        """The variables by which both sides of fsmon find these services."""
        return {
            "FSMON_BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "FSMON_REGISTRY": self.registry.url,
            "FSMON_DSN": self.postgres.dsn,
        }

    def table(self) -> list[tuple[str, bool, str]]:
        """Name, whether it runs, and address of each service."""
        return [
            ("kafka", self.kafka.running, self.kafka.bootstrap),
            ("registry", self.registry.running, self.registry.url),
            ("postgresql", self.postgres.running, self.postgres.dsn),
        ]
