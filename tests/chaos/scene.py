"""What a round plays on: consumers, hosts and a database of its own, on servers that may be killed."""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fix_kafka import fresh_topics
from fix_postgres import fresh_database
from generator import Fleet
from integration.consumer.running import Running, Site, consumer, wait_until
from local.kafka import Kafka

HOSTS = 12
PARTITIONS = 6
PROTOCOLS = ("consumer", "classic")


class Server(Protocol):
    """A PostgreSQL that may be killed and started."""

    @property
    def dsn(self) -> str: ...

    def kill(self) -> None: ...

    def start(self) -> None: ...


@dataclass(frozen=True)
class Ground:
    """The servers of a module's rounds."""

    kafka: Kafka
    postgres: Server


@dataclass
class Scene:
    """One round's: ``dice`` decides everything that is left to chance."""

    ground: Ground
    site: Site
    fleet: Fleet
    dice: random.Random
    stack: ExitStack
    workers: list[Running] = field(default_factory=list)

    def join(self) -> Running:
        """One more worker."""
        worker = self.stack.enter_context(consumer(self.site))
        self.workers.append(worker)
        return worker

    def begun(self) -> None:
        """Wait until every worker has a partition, and rows arrive."""
        owners = "SELECT count(DISTINCT worker) FROM offsets"
        wait_until(lambda: self.site.value(owners) == len(self.workers), describe=self.logs)
        wait_until(lambda: self.site.value("SELECT count(*) FROM streams WHERE stored > 0") > 0)

    def pause(self, low: float, high: float) -> None:
        """Let things go on for a random number of seconds."""
        time.sleep(self.dice.uniform(low, high))

    def logs(self) -> str:
        return "\n".join(f"--- {worker.log.name}\n{worker.text()[-1500:]}" for worker in self.workers)


@contextmanager
def scene(
    ground: Ground,
    directory: Path,
    dice: random.Random,
    *,
    workers: int,
    protocol: str | None = None,
    kafka: str = "",
) -> Iterator[Scene]:
    """Topics, database, hosts and ``workers`` running consumers; every one ends well or was killed.

    ``kafka``: further settings of their clients.
    """
    directory.mkdir(parents=True)
    with (
        fresh_topics(ground.kafka.bootstrap, PARTITIONS) as topics,
        fresh_database(ground.postgres.dsn) as dsn,
        ExitStack() as stack,
    ):
        site = Site(ground.kafka.bootstrap, topics.events, topics.reports, dsn, directory)
        protocol = protocol or dice.choice(PROTOCOLS)
        site.settings["GROUP_PROTOCOL"] = protocol
        if protocol == "classic":
            kafka = f"session.timeout.ms=3000 heartbeat.interval.ms=500 {kafka}"
        if kafka:
            site.settings["KAFKA"] = kafka
        site.migrate()
        fleet = Fleet(
            ground.kafka.bootstrap,
            topics.events,
            topics.reports,
            hosts=HOSTS,
            partitions=PARTITIONS,
            seed=dice.getrandbits(32),
        )
        played = Scene(ground, site, fleet, dice, stack)
        for _ in range(workers):
            played.join()
        yield played
