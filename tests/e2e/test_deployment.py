"""From the kernel to PostgreSQL with every part real: nothing missing, nothing twice."""

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from local import demo
from local.deployment import Deployment, number_of
from local.process import Process, stop_all

pytestmark = [pytest.mark.services, pytest.mark.kernel]


@pytest.fixture
def home(state_dir: Path) -> Iterator[Path]:
    """Not tmp_path: /tmp may be a tmpfs, which has no extended attributes before Linux 6.6."""
    directory = state_dir / f"e2e-{uuid.uuid4().hex[:8]}"
    yield directory
    stop_all(directory)
    shutil.rmtree(directory, ignore_errors=True)


def test_the_demo_ends_well_and_shows_the_proof(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert demo.main(home) == 0
    shown = capfd.readouterr().out
    for part in (
        "captured",
        "UNACCOUNTED",
        "By operation",
        "By process",
        "Ten events",
        "p99",
        "0 duplicates",
    ):
        assert part in shown
    left = [Process(path.stem, path.parent).pid for path in home.rglob("*.pid")]
    assert not any(left)


def test_kills_of_every_part_behind_the_producer_cost_nothing(home: Path) -> None:
    fsmon = Deployment(home)
    fsmon.prepare()
    watched = home / "watched"
    watched.mkdir()
    fsmon.start_consumers(2)
    fsmon.start_producer(watched)
    with subprocess.Popen([demo.WORKLOAD, watched], stdout=subprocess.DEVNULL) as workload:
        time.sleep(1.5)
        fsmon.consumers[0].kill()
        fsmon.stack.kafka.nodes[0].kill()
        time.sleep(1)
        fsmon.stack.kafka.start()
        time.sleep(1)
        fsmon.stack.postgres.process.kill()
        time.sleep(1)
        fsmon.stack.postgres.start()
        fsmon.restart_consumer(0)
        assert workload.wait() == 0
    fsmon.stop_producer()
    assert fsmon.audit(settle_seconds=90) == 0
    with fsmon.database() as database:
        stored = number_of(database, "SELECT count(*) FROM file_events")
        distinct = number_of(database, "SELECT count(DISTINCT (host_id, session, seq)) FROM file_events")
        assert stored == distinct
        assert stored == number_of(database, "SELECT emitted FROM reports")
        assert stored > 5_000
        assert number_of(database, "SELECT count(*) FROM dead_letters") == 0
    fsmon.stop()
