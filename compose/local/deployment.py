"""fsmon itself on the local services: one producer and some consumers as processes of their own."""

import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import LiteralString

import psycopg

from local.process import Process, ServiceError
from local.stack import Stack

_SCRIPTS = Path(sys.executable).parent
_START_SECONDS = 60
_STOP_SECONDS = 60


class Deployment:
    """Services, topics, tables, producer and consumers, with all their state below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stack = Stack(directory)
        self.consumers: list[Process] = []
        self.producer = Process("producer", directory, tell=signal.SIGUSR1)

    @property
    def environment(self) -> dict[str, str]:
        """What the commands run with: ours, where the services are, and a state directory of its own."""
        state = {"FSMON_STATE_DIR": str(self.directory / "producer")}
        return {**os.environ, **self.stack.environment(), **state}

    def prepare(self) -> None:
        """Start the services and make topics and tables; raises ServiceError."""
        self.stack.start()
        for command in ("fsmon-producer topics create", "fsmon-consumer migrate"):
            done = self._run(command, capture_output=True)
            if done.returncode != 0:
                raise ServiceError(f"{command} failed:\n{done.stdout}{done.stderr}")

    def database(self) -> psycopg.Connection:
        """A connection that sees what is committed; the caller closes it."""
        return psycopg.connect(self.stack.postgres.dsn, autocommit=True)

    def start_consumers(self, count: int) -> None:
        """Start ``count`` consumers and wait until each of them owns partitions."""
        for number in range(1, count + 1):
            self.consumers.append(Process(f"consumer-{number}", self.directory, tell=signal.SIGUSR1))
            self.restart_consumer(-1)
        with self.database() as database:
            owners = partial(number_of, database, "SELECT count(DISTINCT backend_pid) FROM offsets")
            for consumer in self.consumers:
                consumer.wait(lambda: owners() == count, _START_SECONDS)

    def restart_consumer(self, index: int) -> None:
        """Start a consumer that does not run; returns at once."""
        self.consumers[index].launch([_SCRIPTS / "fsmon-consumer", "run"], self.environment)

    def start_producer(self, watched: Path, *more: str) -> None:
        """Capture what happens below ``watched``; on return it is live. ``more``: options."""
        options = ["--watch", str(watched), "--host-id", socket.gethostname(), "--report-interval", "1"]
        before = self._starts_told()
        self.producer.launch([_SCRIPTS / "fsmon-producer", "run", *options, *more], self.environment)
        self.producer.wait(lambda: self._starts_told() > before, _START_SECONDS)

    def _starts_told(self) -> int:
        return self.producer.log.read_text().count("capturing on") if self.producer.log.exists() else 0

    def stop_producer(self) -> None:
        """End capture; raises ServiceError unless it delivered everything it had captured."""
        _must_end_well(self.producer, signal.SIGINT)

    def audit(self, settle_seconds: int) -> int:
        """Print the audit; its exit code, 0 when every captured event is accounted for."""
        return self._run(f"fsmon-consumer audit --settle {settle_seconds}").returncode

    def stop(self) -> None:
        """Stop consumers and services; raises ServiceError if a consumer did not end well."""
        for consumer in self.consumers:
            _must_end_well(consumer)
        self.stack.stop()

    def _run(self, command: str, *, capture_output: bool = False) -> subprocess.CompletedProcess[str]:
        name, *arguments = command.split()
        return subprocess.run(
            [_SCRIPTS / name, *arguments],
            env=self.environment,
            capture_output=capture_output,
            text=True,
            check=False,
        )


def number_of(database: psycopg.Connection, query: LiteralString) -> int:
    """The one number that ``query`` gives."""
    row = database.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _must_end_well(process: Process, polite: signal.Signals = signal.SIGTERM) -> None:
    code = process.stop(_STOP_SECONDS, polite)
    if code != 0:
        raise ServiceError(f"{process.name} ended with exit code {code}: see {process.log}")
