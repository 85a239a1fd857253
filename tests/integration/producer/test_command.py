"""The command as a process: signals, exit codes, what it says."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import fastavro
import pytest
from fix_kafka import Broker, Topics
from fix_registry import SchemaRegistry
from fsmon_schemas.framing import RegistryId, split_frame
from integration.producer.producing_host import arrived, values_of, wait_until
from local.ports import ports

pytestmark = pytest.mark.services

TESTS = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("fake_ring_producer.py")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FSMON_")}
    return {**kept, "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'compose'}", **more}


def command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The real program; its output together."""
    return subprocess.run(
        [sys.executable, "-c", "from fsmon_producer.cli import main; main()", *arguments],
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def start(
    events: int,
    *arguments: str,
    stdout: int = subprocess.DEVNULL,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(events), "run", "--watch", "/tmp", *arguments],
        env=environment(**(env or {})),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    while started:
        process = started.pop()
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def to(kafka: Broker, topics: Topics) -> list[str]:
    return [
        f"--bootstrap-servers={kafka.bootstrap}",
        f"--topic={topics.events}",
        f"--reports-topic={topics.reports}",
    ]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_ring_and_the_exit_code_is_0(kafka: Broker, topics: Topics, signum: int) -> None:
    producer = start(20_000, "--host-id=h", *to(kafka, topics))
    wait_until(lambda: bool(arrived(kafka.bootstrap, topics.events, topics.partitions)))
    producer.send_signal(signum)
    _, told = producer.communicate(timeout=30)
    assert producer.returncode == 0, told
    assert "capturing on h" in told
    assert f"stopping ({signal.Signals(signum).name})" in told
    events = arrived(kafka.bootstrap, topics.events, topics.partitions)
    assert [event.value["seq"] for event in events] == list(range(len(events)))
    last = arrived(kafka.bootstrap, topics.reports, 1)[-1].value
    assert (last["state"], last["end_reason"]) == ("ended", signal.Signals(signum).name)
    assert last["emitted"] == last["acked_seq"] == len(events)


def test_a_broker_that_is_away_makes_the_exit_code_1_within_the_drain_timeout() -> None:
    producer = start(10, "--bootstrap-servers=127.0.0.1:1", "--drain-timeout=0.5")
    assert producer.stderr is not None
    told = ""
    while "delivered later" not in told:
        line = producer.stderr.readline()
        assert line, f"it ended: {told}"
        told += line
    asked = time.monotonic()
    producer.terminate()
    _, rest = producer.communicate(timeout=30)
    assert producer.returncode == 1
    assert time.monotonic() - asked < 5
    assert "10 events were captured and not delivered" in rest


def test_json_lines_go_to_standard_output_and_a_closed_pipe_ends_it_quietly() -> None:
    producer = start(5000, "--output=-", stdout=subprocess.PIPE)
    assert producer.stdout is not None
    assert producer.stderr is not None
    first = [json.loads(producer.stdout.readline()) for _ in range(3)]
    producer.stdout.close()
    told = producer.stderr.read()
    assert producer.wait(30) == 0
    assert [event["seq"] for event in first] == [0, 1, 2]
    assert "Traceback" not in told


def _whole_records(path: Path) -> int:
    """Records in the blocks that are written to their end; the file may be growing."""
    records = 0
    with path.open("rb") as file, contextlib.suppress(EOFError, ValueError):
        for block in fastavro.block_reader(file):
            records += block.num_records
    return records


def test_an_avro_file_holds_everything(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    producer = start(3000, f"--output={path}", "--host-id=h")
    wait_until(lambda: path.exists() and _whole_records(path) == 3000)
    producer.terminate()
    _, told = producer.communicate(timeout=30)
    assert producer.returncode == 0, told
    with path.open("rb") as file:
        events = [event for event in fastavro.reader(file) if isinstance(event, dict)]
    assert [event["seq"] for event in events] == list(range(3000))


def test_metrics_are_the_figures_of_the_session(tmp_path: Path) -> None:
    (port,) = ports(tmp_path / "metrics", 1)
    producer = start(3000, f"--output={tmp_path}/events.avro", "--host-id=h", f"--metrics={port}")

    def scraped() -> str:
        with (
            contextlib.suppress(ConnectionError, urllib.error.URLError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response,
        ):
            return str(response.read().decode())
        return ""

    wait_until(lambda: "fsmon_acknowledged_events_total 3000.0" in scraped())
    shown = scraped().splitlines()
    assert 'fsmon_captured_events_total{op="write"} 3000.0' in shown
    assert "fsmon_ring_used_bytes 0.0" in shown
    assert "fsmon_ring_bytes 1.048576e+06" in shown
    assert any(line.startswith("fsmon_capture_info{") and 'host_id="h"' in line for line in shown)
    taken = start(0, "--output=-", f"--metrics={port}")
    _, told = taken.communicate(timeout=30)
    assert (taken.returncode, f"--metrics 127.0.0.1:{port}: Address already in use" in told) == (2, True), (
        told
    )
    producer.terminate()
    assert producer.wait(30) == 0


def test_topics_are_created_checked_and_registered_and_used(kafka: Broker, registry: SchemaRegistry) -> None:
    name = f"made-{os.urandom(6).hex()}"
    topics = Topics(f"{name}.file-events", f"{name}.capture-reports", 3)
    arguments = [*to(kafka, topics), f"--registry={registry.url}"]
    missing = command("topics", "check", *arguments)
    assert missing.returncode == 1
    assert "run `fsmon-producer topics create`" in missing.stdout
    for _ in range(2):
        created = command("topics", "create", "--partitions=3", *arguments)
        assert created.returncode == 0, created.stdout
        assert f"{topics.events}: 3 partitions, replication 1" in created.stdout
        assert "FULL_TRANSITIVE" in created.stdout
    assert command("topics", "check", *arguments).returncode == 0
    producer = start(100, *arguments)
    wait_until(lambda: len(arrived(kafka.bootstrap, topics.events, 3)) == 100)
    producer.terminate()
    _, told = producer.communicate(timeout=30)
    assert producer.returncode == 0, told
    references = {type(split_frame(value)[0]) for value in values_of(kafka.bootstrap, topics.events, 3)}
    assert references == {RegistryId}


def test_a_topic_that_keeps_wrongly_is_told(kafka: Broker, topics: Topics) -> None:
    name = f"made-{os.urandom(6).hex()}"
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # noqa: PLC0415

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(name, 1, config={"cleanup.policy": "compact"})])[name].result(30)
    checked = command("topics", "check", *to(kafka, Topics(name, topics.reports, 1)))
    assert checked.returncode == 1
    assert "message.timestamp.type is CreateTime, should be LogAppendTime" in checked.stdout
    assert "cleanup.policy is compact, should be delete" in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "env", "code", "told"),
    [
        (["run"], {}, 2, "nothing to watch: give --watch"),
        (["run", "--watch=/tmp"], {}, 2, "nowhere to send events: give --bootstrap-servers"),
        (["run", "--watch=/tmp", "--op=reed"], {}, 2, "no operation 'reed'; there are create, open, read"),
        (["run", "--metrics=x"], {}, 2, "should be PORT or HOST:PORT"),
        (["run", "--report-interval=x"], {}, 2, "report-interval"),
        (["run"], {"FSMON_KAFKA": "acks=1"}, 2, "--kafka acks=1 is refused"),
        (["run", "--kafka=retries=2"], {}, 2, "--kafka retries=2 is refused"),
        (["run", "--config=/no/such.toml"], {}, 2, "/no/such.toml"),
        (["run", "--registry=x", "--bootstrap-servers=a:1"], {"FSMON_WATCH": "/tmp"}, 2, "should be a URL"),
        (["topics", "check"], {}, 2, "give --bootstrap-servers"),
        (["topics", "check", "--bootstrap-servers=127.0.0.1:1"], {}, 1, "Kafka does not answer"),
        (["source", "--backend=x"], {}, 2, "lsm, tracepoint"),
        (["--help"], {}, 0, "Captures file operations"),
        (["run", "--help"], {}, 0, "FSMON_BOOTSTRAP_SERVERS"),
        (["topics", "create", "--help"], {}, 0, "--replication-factor"),
        (["source"], {}, 0, "BPF"),
    ],
)
def test_every_mistake_has_a_sentence_and_an_exit_code(
    arguments: list[str], env: dict[str, str], code: int, told: str
) -> None:
    if "--registry=x" in arguments:
        ended = start(0, *arguments[1:], env=env)
        _, said = ended.communicate(timeout=30)
        assert (ended.returncode, told in said) == (code, True), said
        return
    ended_ = command(*arguments, **env)
    assert ended_.returncode == code, ended_.stdout
    assert told in " ".join(ended_.stdout.split())
    assert "Traceback" not in ended_.stdout


def test_flag_beats_environment_beats_file(kafka: Broker, topics: Topics, tmp_path: Path) -> None:
    file = tmp_path / "fsmon.toml"
    file.write_text(
        f'bootstrap_servers = "{kafka.bootstrap}"\ntopic = "in-file"\nreports_topic = "in-file"\n'
    )
    ended = command("topics", "check", f"--config={file}", FSMON_TOPIC="in-environment")
    assert "topic in-environment does not exist" in ended.stdout
    ended = command("topics", "check", f"--config={file}", "--topic=in-flag", FSMON_TOPIC="in-environment")
    assert "topic in-flag does not exist" in ended.stdout
    ended = command("topics", "check", f"--config={file}", f"--topic={topics.events}")
    assert "topic in-file does not exist" in ended.stdout
