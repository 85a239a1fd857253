"""Bad input gets a clear message and the right exit code; the partition commands work."""

import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from confluent_kafka.admin import AdminClient
from fix_registry import SchemaRegistry
from fsmon_schemas.framing import confluent_prefix
from generator import Fleet
from integration.consumer.running import Site, consumer, refused, remake, wait_until
from local.ports import ports

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]


def test_run_before_migrate(site: Site) -> None:
    site.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert "run fsmon-consumer migrate" in refused(site, 1, "run")
    assert "run fsmon-consumer migrate" in refused(site, 1, "audit")
    assert "run fsmon-consumer migrate" in refused(site, 1, "partitions", "list")


def test_wrong_password_and_unknown_database(site: Site) -> None:
    parts = urlsplit(site.dsn)
    wrong = parts._replace(netloc=f"{parts.username}:wrong-secret@{parts.hostname}:{parts.port}").geturl()
    text = refused(replace(site, dsn=wrong), 1, "run")
    assert "authentication failed" in text
    assert "FSMON_DSN" in text
    assert "wrong-secret" not in text
    nowhere = replace(site, dsn=parts._replace(path="/nowhere").geturl())
    assert "does not exist" in refused(nowhere, 1, "migrate")
    assert "DSN" in refused(site, 2, "migrate", "--dsn", "no=such option")


def test_settings_of_the_groups_member_hurt_nobody_else(site: Site, make_fleet: MakeFleet) -> None:
    """With KIP-848 the session's time-out is the broker's, and a short max.poll.interval is allowed."""
    site.settings |= {"KAFKA": "max.poll.interval.ms=6000", "GROUP_PROTOCOL": "consumer"}
    fleet = make_fleet(1)
    with consumer(site):
        fleet.send(3)
        fleet.report()
        assert site.settled()["complete"]
    assert len(site.command("tail", "--from-beginning", "--limit", "3").stdout.splitlines()) == 4


def test_a_typo_in_the_configuration(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "fsmon.toml"
    file.write_text('bootstrap_server = "x"\n')
    assert "did you mean 'bootstrap_servers'?" in refused(site, 2, "run", "--config", str(file))
    assert "No such configuration property" in refused(site, 2, "run", "--kafka", "security.protocl=ssl")


def test_kafka_down_at_the_start_is_waited_for(site: Site) -> None:
    with consumer(site, "--bootstrap-servers", "127.0.0.1:9") as running:
        running.wait_for("waiting for Kafka")
        time.sleep(2)
        assert running.text().count("waiting for Kafka") == 1
        assert "Kafka at 127.0.0.1:9 does not answer" in running.text()
        assert "--bootstrap-servers" in running.text()
        assert running.stop() == 0
        assert running.text().count("stopped before it began") == 1


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_topics_that_are_not_there_are_said_and_waited_for(
    site: Site, make_fleet: MakeFleet, protocol: str
) -> None:
    fleet = make_fleet(1)
    admin, missing = AdminClient({"bootstrap.servers": site.bootstrap}), f"{site.events}-late"
    with consumer(site, "--topic", missing, "--group-protocol", protocol) as running:
        running.wait_for("fsmon-producer topics create")
        time.sleep(6)
        assert running.text().count(f"no topic {missing}") == 1
        assert f"no topic {site.reports}" not in running.text()
        assert f"no topic {missing}" in refused(site, 1, "audit", "--topic", missing)
        assert f"no topic {missing}" in refused(site, 1, "audit", "--settle", "1", "--topic", missing)
        remake(admin, missing)
        running.wait_for(f"the topic {missing} is there now")
        fleet.send_raw(0, b"k", b"garbage", topic=missing)
        fleet.flush()
        wait_until(lambda: site.value("SELECT count(*) FROM dead_letters") == 1)
        assert running.stop() == 0
        assert running.text().count("INFO fsmon_consumer.worker: stopped;") == 1
    admin.delete_topics([missing])[missing].result(30)


def test_an_unknown_schema_id_is_a_dead_letter(
    site: Site, make_fleet: MakeFleet, registry: SchemaRegistry
) -> None:
    site.registry = registry.url
    fleet = make_fleet(1, registry=registry.url)
    with consumer(site):
        fleet.send(5)
        fleet.send_raw(0, b"simulated-0000", confluent_prefix(2_000_000_000) + b"body")
        fleet.send(5)
        fleet.report()
        assert site.settled()["complete"]
    assert site.rows("SELECT reason, schema_ref, host_id FROM dead_letters") == [
        ("unknown_schema", "registry id 2000000000", None)
    ]


def test_a_forgotten_registry_pauses_its_partitions_and_commits_nothing(
    site: Site, make_fleet: MakeFleet, registry: SchemaRegistry
) -> None:
    fleet = make_fleet(1, registry=registry.url)
    fleet.send(1000)
    with consumer(site) as running:
        running.wait_for("[0] is paused")
        for words in ("none is configured", "check --registry", "the other partitions go on"):
            assert words in running.text()
        audit = site.command("audit")
        assert f"{site.events}[0] IS PAUSED" in audit.stdout
        fleet.send_raw(1, b"k", b"garbage")
        fleet.flush()
        wait_until(lambda: site.rows("SELECT partition, reason FROM dead_letters") == [(1, "framing")])
    assert site.value("SELECT max(next_offset) FROM offsets WHERE partition = 0") == 0
    fleet.report()
    site.registry = registry.url
    with consumer(site):
        assert site.settled()["complete"]
    assert site.value("SELECT count(*) FROM file_events") == 1000


def test_the_registry_being_away_is_waited_for(
    site: Site, make_fleet: MakeFleet, registry: SchemaRegistry
) -> None:
    fleet = make_fleet(1, registry=registry.url)
    site.registry = "http://127.0.0.1:9"
    with consumer(site) as running:
        fleet.send(5)
        running.wait_for("waiting for the schema registry")
        assert site.value("SELECT count(*) FROM dead_letters") == 0
    assert site.value("SELECT count(*) FROM file_events") == 0


def test_an_audit_that_waited_in_vain_fails(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    fleet.send(5)
    fleet.report()
    unread = site.command("audit", "--settle", "0.5")
    assert unread.returncode == 1
    assert "NOT settled within 0.5 s: still 6 messages not read" in unread.stdout
    assert site.command("audit").returncode == 0  # nobody waited, and nothing is known to be missing
    with consumer(site):
        assert site.settled()["settled"]
    assert site.command("audit", "--settle", "0").returncode == 0


def test_partition_commands(site: Site) -> None:
    assert "--ahead" in refused(site, 2, "partitions", "create", "--ahead", "0")
    assert "made 4 partitions" in site.command("partitions", "create", "--ahead", "2").stdout
    assert len(site.command("partitions", "list").stdout.splitlines()) == 4
    assert site.command("partitions", "retire", "--retention", "1s").stdout.count("dropped file_events_") == 1


def test_every_command_has_help(site: Site) -> None:
    for command in (
        [],
        ["migrate"],
        ["run"],
        ["audit"],
        ["tail"],
        ["partitions"],
        ["partitions", "create"],
        ["dead-letters"],
        ["dead-letters", "list"],
        ["dead-letters", "show"],
        ["dead-letters", "replay"],
        ["dead-letters", "purge"],
    ):
        done = site.command(*command, "--help")
        assert done.returncode == 0
        assert len(done.stdout) > 100


def test_metrics_count_what_is_stored_and_how_far_behind_it_is(site: Site, make_fleet: MakeFleet) -> None:
    (port,) = ports(site.directory / "metrics", 1)
    fleet = make_fleet(2)

    def scraped() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
            return str(response.read().decode())

    def lags() -> dict[str, str]:
        shown = [line.split() for line in scraped().splitlines()]
        return {line[0]: line[1] for line in shown if line[0].startswith("fsmon_consumer_lag_messages{")}

    with consumer(site, f"--metrics={port}") as running:
        fleet.send(500)
        fleet.report()
        running.wait_for("consuming")
        stored = f'fsmon_consumer_messages_total{{outcome="stored",topic="{site.events}"}} 1000.0'
        wait_until(lambda: stored in scraped(), describe=scraped)
        wait_until(lambda: len(lags()) > 1 and set(lags().values()) == {"0.0"}, describe=scraped)
        assert "fsmon_consumer_kafka_up 1.0" in scraped()
        taken = refused(site, 2, "run", f"--metrics={port}")
        assert f"--metrics 127.0.0.1:{port}: Address already in use" in taken
    assert "neither PORT nor HOST:PORT" in refused(site, 2, "run", "--metrics=x")
