"""PostgreSQL fails over to a standby or fills its disk: waited for, nothing lost, no rebalance."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from chaos.conftest import Grounds
from chaos.rounds import Rounds
from chaos.scene import Ground, Scene, scene
from chaos.traffic import flowing
from chaos.verify import assert_exact, resident
from confluent_kafka.admin import AdminClient
from local.postgres import Postgres

pytestmark = pytest.mark.services
RATE = 12_000
DISK = "size=600m"
SMALL_WAL = {"max_wal_size": "96MB", "min_wal_size": "48MB"}
FULL_SECONDS, POLL = 5, "max.poll.interval.ms=3000"
BOUND_BYTES = 700 << 20  # of a worker: its inbox is two batches of 50,000, whatever waits in Kafka


class Pair:
    """A server and its standby under one DSN; to be started after it was killed is to be promoted."""

    def __init__(self, directory: Path) -> None:
        self.first, self.second = Postgres(directory / "first"), Postgres(directory / "second")
        self.first.start()
        self.second.follow(self.first)

    @property
    def dsn(self) -> str:
        both = self.first.dsn.replace(self.first.address, f"{self.first.address},{self.second.address}")
        return f"{both}?target_session_attrs=read-write"

    def kill(self) -> None:
        self.first.kill()

    def start(self) -> None:
        self.second.start()
        self.second.promote()

    def stop(self) -> None:
        self.first.stop()
        self.second.stop()


def test_failover(rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    """Every other time the standby had stopped to receive: it lacks commits that the consumers know of."""
    for this in rounds:
        pair = Pair(tmp_path / f"{this.number}-servers")
        try:
            ground = Ground(grounds.of(1).kafka, pair)
            with scene(ground, tmp_path / str(this.number), this.dice, workers=2) as played:
                with flowing(played.fleet, RATE):
                    played.begun()
                    if this.number % 2:
                        pair.second.stop()
                        played.pause(1, 2)
                    pair.kill()
                    played.pause(0.5, 2)
                    pair.start()
                    played.pause(1, 2)
                played.fleet.report()
                this.figures |= {"events": assert_exact(played.site, played.fleet)}
                fell_back = sum("holds less than was committed" in each.text() for each in played.workers)
                assert fell_back == 0 or this.number % 2
                assert fell_back > 0 or not this.number % 2
        finally:
            pair.stop()


def test_full_disk(rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    for this in rounds:
        disk = tmp_path / f"{this.number}-disk"
        with small_disk(disk):
            server = Postgres(disk, settings=SMALL_WAL)
            server.start()
            try:
                ground = Ground(grounds.of(1).kafka, server)
                directory = tmp_path / str(this.number)
                with scene(ground, directory, this.dice, workers=2, protocol="classic", kafka=POLL) as played:
                    this.figures |= fill(played, server, disk / "ballast")
            finally:
                server.stop()


def fill(played: Scene, server: Postgres, ballast: Path) -> dict[str, float]:
    most = 0
    with flowing(played.fleet, RATE):
        played.begun()
        members = group(played)
        occupy(ballast)
        played.workers[0].wait_for("waiting for PostgreSQL", 60)
        until = time.monotonic() + FULL_SECONDS
        while time.monotonic() < until:
            most = max(most, *(resident(each.process.pid) for each in played.workers))
            time.sleep(0.2)
        ballast.unlink()
        server.start()  # where the log had no room either, it has ended itself
        played.pause(1, 2)
        assert group(played) == members
    played.fleet.report()
    assert most < BOUND_BYTES, f"{most >> 20} MiB"
    return {"events": assert_exact(played.site, played.fleet)}


def occupy(ballast: Path) -> None:
    """Take what is free; the server takes its part meanwhile."""
    step = 64 << 20
    with ballast.open("wb") as file:
        while step >= 4096:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), step)
            except OSError:
                step //= 2


def group(played: Scene) -> set[str]:
    """Ids of the group's members: who was thrown out for not polling comes back under another."""
    admin = AdminClient({"bootstrap.servers": played.site.bootstrap})
    found = admin.describe_consumer_groups([played.site.events])[played.site.events].result(30)
    return {member.member_id for member in found.members}


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            (directory / "ballast").unlink()
        subprocess.run(["umount", str(directory)], check=True)
