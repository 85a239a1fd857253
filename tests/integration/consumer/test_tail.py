"""`tail` on the real Kafka: what it follows, and what it says when it cannot."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from generator import Fleet
from integration.consumer.running import Running, Site, refused, remake
from local.kafka import Kafka

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]


def test_tail_follows_filters_and_leaves(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(2)
    fleet.send(600)
    fleet.send_raw(0, b"k", b"garbage")
    fleet.flush()
    site.dsn = "host=127.0.0.1 port=9"  # no database is needed
    everything = site.command("tail", "--from-beginning", "--limit", "1200", "--format", "json")
    assert everything.returncode == 0
    events = [json.loads(line) for line in everything.stdout.splitlines()]
    assert len(events) == 1200
    some = site.command(
        "tail", "--from-beginning", "--limit", "3", "--op", "rename", "--host", "simulated-0001"
    )
    header, *lines = some.stdout.splitlines()
    assert header.split() == ["TIME", "HOST", "PROCESS", "OP", "RESULT", "PATH"]
    assert len(lines) == 3
    assert all("simulated-0001" in line and "rename" in line and " → " in line for line in lines)
    globbed = site.command("tail", "--from-beginning", "--limit", "5", "--path", "*.swp", "--format", "json")
    assert all(json.loads(line)["path"].endswith(".swp") for line in globbed.stdout.splitlines())
    process = subprocess.Popen(
        [sys.executable, "-m", "fsmon_consumer", "tail"],
        env=site.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.5)
    fleet.send(2)
    assert "simulated-000" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_tail_says_what_it_cannot_match_and_when_kafka_is_away(tmp_path: Path) -> None:
    """Of a broker of its own, which goes away and comes back."""
    broker = Kafka(tmp_path / "kafka")
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    remake(admin, "events")
    site = Site(broker.bootstrap, "events", "reports", "", tmp_path)
    try:
        assert "no operation opne" in refused(site, 2, "tail", "--op", "opne")
        assert "paths are absolute" in refused(site, 2, "tail", "--path", "etc")
        log = tmp_path / "tail.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "fsmon_consumer", "tail"],
                env=site.environment(),
                stdout=subprocess.DEVNULL,
                stderr=output,
            )
        running = Running(process, log)
        time.sleep(3)
        broker.stop()
        running.wait_for(f"no Kafka broker answers at {broker.bootstrap}")
        text = refused(site, 1, "tail")
        assert broker.bootstrap in text
        assert "--bootstrap-servers" in text
        broker.start()
        running.wait_for("is back", 60)
        assert running.text().count("no Kafka broker answers") == 1
        assert running.stop() == 0
    finally:
        broker.stop()


def test_tail_without_a_topic(site: Site) -> None:
    assert "fsmon-producer topics create" in refused(site, 1, "tail", "--topic", "no-such-topic")
