"""The producer killed, stopped and replaced under load: the kernel goes on, the next one loses nothing."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from local.deployment import Deployment, number_of
from local.process import stop_all

pytestmark = [pytest.mark.services, pytest.mark.kernel]

PRODUCER = Path(sys.executable).parent / "fsmon-producer"
ROUNDS = int(os.environ.get("FSMON_TEST_ROUNDS", "3"))
# Three events a turn, some 10,000 a second, until its standard input ends; prints the turns.
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
    time.sleep(max(0, begun + turns / 3400 - time.monotonic()))
print(turns)
"""
OPERATIONS = ("create", "write", "unlink")


class Load:
    """Operations in ``directory`` until ``stop``, which tells how many turns of them there were."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            ["/usr/bin/python3", "-ISc", _LOAD, directory],
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

    def stored(self, more: str = "true") -> int:
        with self.fsmon.database() as database:
            count = f"SELECT count(*) FROM file_events WHERE host_id = '{self.host_id}' AND {more}"
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


@pytest.fixture(scope="module")
def fsmon(state_dir: Path) -> Iterator[Deployment]:
    directory = state_dir / "takeover"
    deployment = Deployment(directory)
    deployment.prepare()
    deployment.start_consumers(2)
    yield deployment
    deployment.stop()
    stop_all(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def host(fsmon: Deployment) -> Iterator[Host]:
    name = uuid.uuid4().hex[:8]
    watched = fsmon.directory / f"watched-{name}"
    watched.mkdir()
    yield Host(fsmon, watched, f"host-{name}")
    fsmon.producer.kill()

    stop_all(fsmon.directory / "producer")  # what a failed test left pinned


def test_kill_at_random_moments_under_load(host: Host) -> None:
    """FSMON_TEST_ROUNDS=25 is the issue's bar."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    host.start()
    load = Load(host.watched)
    for _ in range(ROUNDS):
        time.sleep(dice.uniform(0.05, 1.5))
        host.fsmon.producer.kill()
        time.sleep(dice.choice((0, dice.uniform(0, 1))))
        host.start()
    turns = load.stop()
    host.fsmon.stop_producer()
    host.must_have(turns)
    assert host.sessions() == [("ended", "SIGINT")]
    assert turns > 1000 * ROUNDS


def test_kill_while_it_starts(host: Host) -> None:
    """Each step of a start and of a take-over may be the last one."""
    dice = random.Random(7)
    environment = {**host.fsmon.environment, "FSMON_HOST_ID": host.host_id}
    command = [str(PRODUCER), "run", f"--watch={host.watched}"]
    host.start()
    load = Load(host.watched)
    host.fsmon.producer.kill()
    for number in range(2 * ROUNDS):
        # Another ring each time: a new session is loaded, pinned, and takes its turn.
        size = ("1M", "2M")[number % 2]
        starting = subprocess.Popen(
            [*command, f"--ring-size={size}"], env=environment, stderr=subprocess.DEVNULL
        )
        time.sleep(dice.uniform(0.2, 7))
        starting.send_signal(signal.SIGKILL)
        starting.wait()
    host.start()
    turns = load.stop()
    host.fsmon.stop_producer()
    host.must_have(turns)


def test_a_stopped_producer_leaves_capture_going(host: Host) -> None:
    host.start()
    load = Load(host.watched)
    time.sleep(0.5)
    assert host.fsmon.producer.stop(30) == 0
    time.sleep(1)
    waiting = host.stored()
    time.sleep(0.5)
    host.start()
    turns = load.stop()
    host.fsmon.stop_producer()
    host.must_have(turns)
    assert 0 < waiting < 3 * turns
    assert "the kernel goes on capturing" in host.fsmon.producer.log.read_text()


def test_another_ring_is_another_session_without_a_gap(host: Host) -> None:
    host.start()
    load = Load(host.watched)
    for size in ("128M", "64M", "128M"):
        time.sleep(0.7)
        assert host.fsmon.producer.stop(30) == 0
        host.start(f"--ring-size={size}")
    time.sleep(0.5)
    turns = load.stop()
    host.fsmon.stop_producer()
    host.must_have(turns)
    told = host.sessions()
    assert [state for state, _ in told] == ["ended"] * 4
    assert all("ring_bytes is" in (reason or "") for _, reason in told[:3])
    assert told[3][1] == "SIGINT"


def test_a_full_ring_counts_what_nobody_read(host: Host) -> None:
    host.start("--ring-size=64K")
    host.fsmon.producer.kill()
    load = Load(host.watched)
    time.sleep(1)
    turns = load.stop()
    host.start("--ring-size=64K")
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    lost = host.reported("(lost ->> 'ring_full')::bigint")
    assert (host.stored() + lost, host.reported("emitted")) == (3 * turns, host.stored())
    assert host.stored() > 100
    assert lost > 100


def test_neither_producer_captures_its_own_operations(host: Host) -> None:
    state = host.watched / "state"
    for _ in range(2):
        host.start(f"--state-dir={state}")
        time.sleep(0.3)
        host.fsmon.producer.kill()
    host.start(f"--state-dir={state}")
    (host.watched / "seen").touch()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert host.stored("path LIKE '%/seen'") > 0
    assert host.stored("path LIKE '%/state/%'") == 0


def test_one_owner(host: Host) -> None:
    host.start()
    second = host.run("run", f"--watch={host.watched}", f"--host-id={host.host_id}")
    assert (second.returncode, "another producer (pid" in second.stdout) == (2, True), second.stdout
    detach = host.run("detach")
    assert (detach.returncode, "another producer (pid" in detach.stdout) == (2, True), detach.stdout
    (host.watched / "still").touch()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert host.stored("path LIKE '%/still'") > 0


def test_detach_delivers_and_removes_everything(host: Host) -> None:
    state = host.fsmon.directory / "producer"
    host.start()
    host.fsmon.producer.kill()
    (host.watched / "left").touch()
    assert any((state / "bpf").iterdir())
    detached = host.run("detach")
    assert detached.returncode == 0, detached.stdout
    assert not (state / "bpf").is_mount()
    assert not any((state / "bpf").iterdir())
    (host.watched / "unseen").touch()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert (host.stored("path LIKE '%/left'") > 0, host.stored("path LIKE '%/unseen'")) == (True, 0)
    assert host.sessions() == [("ended", "detached")]


def test_an_outage_with_kills_goes_through_the_spool(host: Host) -> None:
    """The ring holds some ten seconds of this load: what it cannot hold goes to the disk."""
    kafka = host.fsmon.stack.kafka
    host.start("--ring-size=16M")
    load = Load(host.watched)
    time.sleep(0.5)
    kafka.stop()
    for _ in range(2):
        time.sleep(8)
        host.fsmon.producer.kill()
        host.start("--ring-size=16M")
    time.sleep(8)
    spool = host.fsmon.directory / "producer" / "spool"
    assert sum(file.stat().st_size for file in spool.rglob("*.avro")) > 4 << 20
    kafka.start()
    time.sleep(1)
    host.fsmon.producer.kill()  # while it sends what was spooled
    host.start("--ring-size=16M")
    turns = load.stop()
    host.fsmon.stop_producer()
    host.must_have(turns)
    assert len(host.sessions()) == 1
    assert not list(spool.rglob("*.avro"))


def test_detached_during_an_outage_all_is_delivered_by_the_next_run(host: Host) -> None:
    kafka = host.fsmon.stack.kafka
    host.start()
    kafka.stop()
    (host.watched / "before").touch()
    host.fsmon.producer.kill()
    detached = host.run("detach", "--drain-timeout=1")
    assert detached.returncode == 0, detached.stdout
    assert "are in the spool" in detached.stdout
    (host.watched / "unseen").touch()
    kafka.start()
    host.start()
    (host.watched / "after").touch()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    seen = {name: host.stored(f"path LIKE '%/{name}'") > 0 for name in ("before", "unseen", "after")}
    assert seen == {"before": True, "unseen": False, "after": True}
    assert host.sessions() == [("ended", "detached"), ("ended", "SIGINT")]
