"""Consumers as processes, on one test's topics and database."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

_WELL = frozenset({0, -signal.SIGKILL})
_MAIN = [sys.executable, "-m", "fsmon_consumer"]


@dataclass
class Site:
    """Where the consumers of one test work."""

    bootstrap: str
    events: str
    reports: str
    dsn: str
    directory: Path
    registry: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    started: int = 0

    def environment(self) -> dict[str, str]:
        names = {
            "BOOTSTRAP_SERVERS": self.bootstrap,
            "TOPIC": self.events,
            "REPORTS_TOPIC": self.reports,
            "DSN": self.dsn,
            "GROUP": self.events,
            "LOG_LEVEL": "debug",
            **({"REGISTRY": self.registry} if self.registry else {}),
            **self.settings,
        }
        return {**os.environ, **{f"FSMON_{name}": value for name, value in names.items()}}

    def command(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*_MAIN, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def migrate(self) -> None:
        done = self.command("migrate")
        assert done.returncode == 0, done.stderr

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statements)

    def value(self, query: str) -> Any:
        return self.rows(query)[0][0]

    def settled(self, seconds: float = 60) -> dict[str, Any]:
        """The audit once everything sent has arrived."""
        done = self.command("audit", "--settle", str(seconds), "--format", "json", timeout=seconds + 30)
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if found["complete"] and found["settled"] else 1), done.stderr
        return found


@dataclass
class Running:
    """One consumer process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str, seconds: float = 30) -> None:
        wait_until(lambda: words in self.text() or self.process.poll() is not None, seconds, self.text)
        assert words in self.text(), self.text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(30)


@contextmanager
def consumer(site: Site, *arguments: str, ends: Container[int] = _WELL) -> Iterator[Running]:
    """A running consumer; at the end it is stopped, and must have ended well unless it was killed."""
    site.started += 1
    log = site.directory / f"consumer-{site.started}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([*_MAIN, "run", *arguments], env=site.environment(), stderr=output)
    running = Running(process, log)
    try:
        yield running
    finally:
        code = running.stop()
        assert code in ends, running.text()


def refused(site: Site, code: int, *arguments: str) -> str:
    """What a command that fails with this exit code says."""
    done = site.command(*arguments, timeout=30)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


def wait_until(condition: Callable[[], bool], seconds: float = 60, describe: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {describe()}"
        time.sleep(0.1)


def remake(admin: AdminClient, topic: str) -> None:
    config = {"message.timestamp.type": "LogAppendTime"}
    """Create a topic, of four partitions; one of that name may just have been deleted."""
    for _ in range(50):  # the deletion goes on after it was answered
        try:
            admin.create_topics([NewTopic(topic, num_partitions=4, replication_factor=-1, config=config)])[
                topic
            ].result(30)
        except KafkaException:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the topic could not be made anew")
