"""A host whose producer may be killed, and operations on it that are counted; every part real."""

import os
import shutil
import subprocess
import sys
import time
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
os.umask(0o22)
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
# Rows that do not say what a turn's operations were and did, and who did them.
_UNLIKE = """
SELECT seq, to_jsonb(e) FROM file_events AS e WHERE host_id = ANY (%(host_ids)s) AND NOT coalesce(
    (pid, tid, ppid, uid, gid, euid) = (%(pid)s, %(pid)s, %(ppid)s, %(uid)s, %(gid)s, %(uid)s)
    AND (comm, exe, file_type, mode, count, path_truncated) = ('python3', %(exe)s, 'regular', 493, 1, false)
    AND time BETWEEN to_timestamp(%(begun)s) AND to_timestamp(%(ended)s)
    AND num_nulls(path_raw, target_path, target_path_raw, "offset", last_time) = 5
    AND regexp_replace(path, '^.*/', '')::bigint BETWEEN 0 AND %(turns)s - 1
    AND CASE op
        WHEN 'create' THEN result >= 3 AND length IS NULL AND (new_mode, open_flags & 65) = (511, 65)
        WHEN 'write' THEN (result, length) = (1, 1) AND num_nulls(new_mode, open_flags) = 2
        WHEN 'unlink' THEN result = 0 AND num_nulls(length, new_mode, open_flags) = 3
    END, false)
LIMIT 3
"""
# Paths of which there are just the three rows of a turn, in their order, and of one file.
_WHOLE = """
SELECT count(*) FROM (
    SELECT path FROM file_events JOIN reports USING (host_id, session)
    WHERE host_id = ANY (%(host_ids)s) GROUP BY path
    HAVING array_agg(op ORDER BY session_start, seq) = ARRAY['create', 'write', 'unlink']
       AND count(DISTINCT (inode, device, process_start, mount_ns)) = 1
) AS whole
"""


class Load:
    """Operations in ``directory`` until ``stop``, which tells how many ``turns`` of them there were.

    ``rate``: turns a second, at most; by default some 10,000 events.
    """

    def __init__(self, directory: Path, rate: int = 3400) -> None:
        self.turns = 0
        self.begun = self.ended = time.time()
        self._process = subprocess.Popen(
            ["/usr/bin/python3", "-ISc", _LOAD, directory, str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> int:
        turns, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        self.turns, self.ended = int(turns), time.time()
        return self.turns

    @property
    def rate(self) -> float:
        """Events a second, from the first to the last."""
        return 3 * self.turns / (self.ended - self.begun)

    def facts(self) -> dict[str, object]:
        """What its rows have to say."""
        return {
            "pid": self._process.pid,
            "ppid": os.getpid(),
            "uid": os.getuid(),
            "gid": os.getgid(),
            "exe": os.path.realpath("/usr/bin/python3"),
            "begun": self.begun - 0.1,  # clocks are slewed
            "ended": self.ended + 0.1,
            "turns": self.turns,
        }


@dataclass
class Host:
    """A deployment with consumers running, and a watched directory and a host id for each test."""

    fsmon: Deployment
    watched: Path
    host_id: str

    @property
    def renamed(self) -> str:
        """What it may be called later."""
        return f"{self.host_id}-renamed"

    @property
    def whose(self) -> str:
        """What its rows are known by."""
        return f"host_id IN ('{self.host_id}', '{self.renamed}')"

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
            count = f"SELECT count({what}) FROM file_events WHERE {self.whose} AND {more}"
            return number_of(database, count)

    def reported(self, what: str) -> int:
        with self.fsmon.database() as database:
            query = f"SELECT coalesce(sum({what}), 0) FROM reports WHERE {self.whose}"
            return number_of(database, query)

    def must_have(self, load: Load) -> None:
        """Each operation once, as it was done, under an identity of its own; nothing lost or unaccounted."""
        assert self.fsmon.audit(settle_seconds=90) == 0
        facts = {"host_ids": [self.host_id, self.renamed], **load.facts()}
        with self.fsmon.database() as database:
            assert database.execute(_UNLIKE, facts).fetchall() == []
            assert database.execute(_WHOLE, facts).fetchall() == [(load.turns,)]
        assert self.stored() == self.stored(what="DISTINCT (session, seq)") == 3 * load.turns
        assert self.stored(f"path NOT LIKE '{self.watched}/%'") == 0
        assert self.reported("emitted") == 3 * load.turns
        with self.fsmon.database() as database:
            lost = f"SELECT count(*) FROM reports WHERE {self.whose} AND lost <> '{{}}'"
            assert number_of(database, lost) == 0

    def sessions(self) -> list[tuple[str, str | None]]:
        with self.fsmon.database() as database:
            query = f"SELECT state, end_reason FROM reports WHERE {self.whose} ORDER BY session_start"
            return database.execute(query).fetchall()


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
