"""A host whose producer may be killed, and operations on it that are counted; every part real."""

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.deployment import Deployment, number_of
from local.process import stop_all

PRODUCER = Path(sys.executable).parent / "fsmon-producer"
# Three events a turn until its standard input ends; prints the turns.
_LOAD = """
import os, select, sys, time
turns, begun = 0, time.monotonic()
while not select.select([0], [], [], 0)[0]:
    for _ in range(33):
        name = f"{sys.argv[1]}/{turns}"
        descriptor = os.open(name, os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"x")
        os.close(descriptor)
        os.unlink(name)
        turns += 1
    time.sleep(max(0, begun + turns / int(sys.argv[2]) - time.monotonic()))
print(turns)
"""
OPERATIONS = ("create", "write", "unlink")


class Load:
    """Operations in ``directory`` until ``stop``, which tells how many turns of them there were.

    ``rate``: turns a second, at most; by default some 10,000 events.
    """

    def __init__(self, directory: Path, rate: int = 3400) -> None:
        self._process = subprocess.Popen(
            ["/usr/bin/python3", "-ISc", _LOAD, directory, str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> int:
        turns, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        return int(turns)


@dataclass
class Host:
    """A deployment with consumers running, and a watched directory and a host id for each test."""

    fsmon: Deployment
    watched: Path
    host_id: str

    def start(self, *more: str) -> None:
        self.fsmon.start_producer(self.watched, f"--host-id={self.host_id}", *more)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PRODUCER, *arguments],
            env=self.fsmon.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def stored(self, more: str = "true", what: str = "*") -> int:
        with self.fsmon.database() as database:
            count = f"SELECT count({what}) FROM file_events WHERE host_id = '{self.host_id}' AND {more}"
            return number_of(database, count)

    def reported(self, what: str) -> int:
        with self.fsmon.database() as database:
            query = f"SELECT coalesce(sum({what}), 0) FROM reports WHERE host_id = '{self.host_id}'"
            return number_of(database, query)

    def must_have(self, turns: int) -> None:
        """Each operation once, under identities that are all different; nothing unaccounted for or lost."""
        assert self.fsmon.audit(settle_seconds=90) == 0
        assert {op: self.stored(f"op = '{op}'") for op in OPERATIONS} == dict.fromkeys(OPERATIONS, turns)
        assert self.stored() == 3 * turns
        # Each turn has a file of its own, so a wrong path would be one too many.
        assert {op: self.stored(f"op = '{op}'", "DISTINCT path") for op in OPERATIONS} == dict.fromkeys(
            OPERATIONS, turns
        )
        assert self.stored(f"path NOT LIKE '{self.watched}/%'") == 0
        assert self.reported("emitted") == 3 * turns
        with self.fsmon.database() as database:
            distinct = (
                "SELECT count(*) FROM (SELECT DISTINCT session, seq FROM file_events "
                f"WHERE host_id = '{self.host_id}') AS identities"
            )
            assert number_of(database, distinct) == 3 * turns
            lost = f"SELECT count(*) FROM reports WHERE host_id = '{self.host_id}' AND lost <> '{{}}'"
            assert number_of(database, lost) == 0

    def sessions(self) -> list[tuple[str, str | None]]:
        with self.fsmon.database() as database:
            return database.execute(
                "SELECT state, end_reason FROM reports WHERE host_id = %s ORDER BY session_start",
                (self.host_id,),
            ).fetchall()


@contextmanager
def deployed(directory: Path, consumers: int) -> Iterator[Deployment]:
    """Services with topics, tables and consumers below ``directory``; nothing of it is left behind."""
    deployment = Deployment(directory)
    deployment.prepare()
    deployment.start_consumers(consumers)
    yield deployment
    deployment.stop()
    stop_all(directory)
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def new_host(fsmon: Deployment) -> Iterator[Host]:
    """One that nobody knows yet; nothing of its capture is left behind."""
    name = uuid.uuid4().hex[:8]
    watched = fsmon.directory / f"watched-{name}"
    watched.mkdir()
    yield Host(fsmon, watched, f"host-{name}")
    fsmon.producer.kill()
    stop_all(fsmon.directory / "producer")
