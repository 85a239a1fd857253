"""Messages to rows on the real services: everything once, and the account of it."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from fix_kafka import Broker, Topics
from fix_registry import SchemaRegistry
from fsmon_schemas import FILE_EVENT
from generator import Fleet
from integration.consumer.running import Running, Site, consumer, remake, wait_until
from local.postgres import Postgres
from simulated_host import encode

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]
MILLION = int(os.environ.get("FSMON_TEST_EVENTS", "100000"))
_IDENTITIES = "SELECT count(*), count(DISTINCT (host_id, session, seq)) FROM file_events"


def assert_all_stored(site: Site, fleet: Fleet) -> None:
    sent = sum(host.sent for host in fleet.hosts)
    found = site.settled()
    assert found["complete"], found
    assert found["behind"] == 0
    assert site.rows(_IDENTITIES) == [(sent, sent)]


def test_two_consumers_and_sixteen_hosts(site: Site, make_fleet: MakeFleet) -> None:
    """The issue's bar is FSMON_TEST_EVENTS=1000000."""
    fleet = make_fleet(16)
    with consumer(site), consumer(site):
        wait_until(lambda: site.value("SELECT count(DISTINCT worker) FROM offsets") == 2)
        begun = time.perf_counter()
        fleet.send(MILLION // 16)
        sent = time.perf_counter() - begun
        fleet.report()
        assert_all_stored(site, fleet)
        took = time.perf_counter() - begun
        workers = site.rows(
            "SELECT worker, sum(stored)::bigint FROM offsets WHERE topic LIKE '%events' GROUP BY 1 ORDER BY 1"
        )
    print(f"\n{MILLION} events sent in {sent:.1f} s, stored and audited after {took:.1f} s, by {workers}")
    assert len(workers) == 2
    assert all(stored > 0 for _, stored in workers)
    assert site.value("SELECT sum(duplicates) FROM streams") == 0


def test_rows_are_what_was_sent(site: Site, make_fleet: MakeFleet, registry: SchemaRegistry) -> None:
    site.registry = registry.url
    fleet = make_fleet(2, registry=registry.url)
    with consumer(site):
        fleet.send(1100)
        lost = {"op": "write", "emitted": 9, "lost": 2, "lost_by_stage": {"ring_full": 2}}
        fleet.report(uncovered={"io_uring": 3}, lost={"ring_full": 2}, operations=[lost])
        assert_all_stored(site, fleet)
    with psycopg.connect(site.dsn) as connection:
        cursor = connection.execute("SELECT * FROM file_events")
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
    hosts = {host.host_id: host for host in fleet.hosts}
    for row in rows:
        stored_at = row.pop("stored_at")
        assert abs(stored_at - datetime.now(UTC)) < timedelta(minutes=5)
        expected = hosts[row["host_id"]].event(row["seq"])
        expected["time"] = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=expected["time"])
        assert row == expected
    audit = site.command("audit")
    assert audit.returncode == 0
    assert "ring_full 2 (write 2)" in audit.stdout
    sessions = json.loads(site.command("audit", "--format=json").stdout)["sessions"]
    assert [each["lost_by_operation"] for each in sessions] == [{"ring_full": {"write": 2}}] * 2
    assert "io_uring 3" in audit.stdout
    assert site.value("SELECT count(*) FROM ecs_file_events WHERE \"event.outcome\" = 'failure'") > 0
    assert site.value(
        "SELECT count(*) FROM ocsf_file_activity WHERE type_uid BETWEEN 100101 AND 100199"
    ) == len(rows)


def test_garbage_goes_to_the_dead_letters_and_its_neighbours_are_stored(
    site: Site, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(2)
    with consumer(site):
        fleet.send(50)
        host = fleet.hosts[0]
        fleet.send_raw(0, b"simulated-0000", b"this is no Avro at all")
        fleet.send_raw(0, None, None)
        # An event whose tail is damaged: its seq is known, and must not be missing from the account.
        [broken] = host.messages(1)
        fleet.send_raw(0, host.key, broken[:-4])
        fleet.send_raw(1, b"someone-else", encode_event(fleet, 1, 50))
        fleet.send_raw(0, b"whoever", b"report?", topic=fleet.reports)
        fleet.flush()
        fleet.send(50)
        fleet.report()
        found = site.settled()
    first = next(each for each in found["sessions"] if each["host_id"] == "simulated-0000")
    assert (first["captured"], first["stored"], first["dead"], first["unaccounted"]) == (101, 100, 1, 0)
    letters = site.rows(
        "SELECT topic = '" + site.events + "', partition, message_offset, key, value, reason, seq "
        "FROM dead_letters ORDER BY 1 DESC, 2, 3"
    )
    assert [(*letter[:2], letter[5], letter[6]) for letter in letters] == [
        (True, 0, "framing", None),
        (True, 0, "framing", None),
        (True, 0, "undecodable", 50),
        (True, 1, "key_mismatch", None),
        (False, 0, "framing", None),
    ]
    assert letters[0][2:5] == (50, b"simulated-0000", b"this is no Avro at all")
    assert found["unattributed_dead_letters"] == {"(no key)": 1, "simulated-0000": 1, "someone-else": 1}
    assert_sums(site)


def encode_event(fleet: Fleet, host: int, seq: int) -> bytes:
    simulated = fleet.hosts[host]
    return simulated.frame + encode(FILE_EVENT, simulated.event(seq))


def assert_sums(site: Site) -> None:
    assert site.rows("SELECT topic FROM offsets WHERE messages <> stored + duplicates + dead + expired") == []


def site_has(site: Site, worker: Running) -> None:
    """Wait until this worker has claimed a partition."""
    claimed = f"SELECT count(*) FROM offsets WHERE worker LIKE '%:{worker.process.pid}'"
    wait_until(lambda: site.value(claimed) > 0)


def test_a_killed_consumer_is_taken_over_without_loss_or_duplicate(site: Site, make_fleet: MakeFleet) -> None:
    site.settings |= {"BATCH_ROWS": "500", "KAFKA": "session.timeout.ms=6000", "GROUP_PROTOCOL": "classic"}
    fleet = make_fleet(8)
    dice = random.Random(11)
    with ExitStack() as stack:
        stack.enter_context(consumer(site))
        for _ in range(3):
            victim = stack.enter_context(consumer(site))
            fleet.send(300)
            site_has(site, victim)
            fleet.send(400)
            time.sleep(dice.uniform(0, 0.2))
            victim.kill()
            fleet.send(300)
        fleet.report()
        assert_all_stored(site, fleet)
    assert_sums(site)


def test_a_hung_consumer_is_fenced_off(site: Site, make_fleet: MakeFleet) -> None:
    """A stopped process keeps its locks and, woken up, its belief: neither may do harm."""
    site.settings |= {"BATCH_ROWS": "200", "KAFKA": "session.timeout.ms=6000", "GROUP_PROTOCOL": "classic"}
    fleet = make_fleet(4)
    with consumer(site) as hung:
        fleet.send(2000)
        wait_until(lambda: site.value("SELECT count(*) FROM file_events") > 0)
        hung.process.send_signal(signal.SIGSTOP)
        with consumer(site) as other:
            fleet.send(500)
            fleet.report()
            assert_all_stored(site, fleet)
            hung.process.send_signal(signal.SIGCONT)
            fleet.send(500)
            fleet.report()
            assert_all_stored(site, fleet)
            assert other.process.poll() is None
    assert_sums(site)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_worker_hung_in_a_flush_is_cut_off(site: Site, make_fleet: MakeFleet, protocol: str) -> None:
    """It is stopped with its partitions' rows locked: its backend is ended, and the rest goes on."""
    site.settings |= {"GROUP_PROTOCOL": protocol, "TAKEOVER_AFTER": "2s"}
    if protocol == "classic":
        site.settings["KAFKA"] = "session.timeout.ms=6000"
    fleet = make_fleet(4)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fsmon-consumer run' "
        "AND datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%streams%'"
    )
    with consumer(site) as hung, psycopg.connect(site.dsn) as blocker:
        fleet.send(100)
        wait_until(lambda: site.value("SELECT count(*) FROM file_events") == 400)
        blocker.execute("LOCK TABLE streams IN SHARE MODE")
        fleet.send(1000)
        wait_until(lambda: site.value(waiting) == 1)
        hung.process.send_signal(signal.SIGSTOP)
        blocker.rollback()
        with consumer(site) as other:
            other.wait_for("which held the partition and did not let go", 60)
            fleet.send(500)
            fleet.report()
            assert_all_stored(site, fleet)
            hung.process.send_signal(signal.SIGCONT)
            fleet.send(500)
            fleet.report()
            assert_all_stored(site, fleet)
            assert f":{hung.process.pid}, which held" in other.text()
            assert other.process.poll() is None
    assert_sums(site)


def test_postgresql_away_is_waited_for(
    kafka: Broker, topics: Topics, make_fleet: MakeFleet, tmp_path: Path
) -> None:
    """The server's own restart: every backend is terminated, and connections are refused meanwhile."""
    postgres = Postgres(tmp_path / "postgres", "18")
    postgres.start()
    site = Site(kafka.bootstrap, topics.events, topics.reports, postgres.dsn, tmp_path)
    try:
        site.migrate()
        run_through_a_restart(site, make_fleet, postgres)
    finally:
        postgres.stop()


def run_through_a_restart(site: Site, make_fleet: MakeFleet, postgres: Postgres) -> None:
    site.settings |= {"BATCH_ROWS": "1000"}
    fleet = make_fleet(4)
    with consumer(site) as running:
        fleet.send(2000)
        wait_until(lambda: site.value("SELECT count(*) FROM file_events") > 0)
        postgres.stop()
        fleet.send(3000)
        running.wait_for("waiting for PostgreSQL")
        time.sleep(1)
        postgres.start()
        running.wait_for("PostgreSQL is back")
        fleet.send(500)
        fleet.report()
        assert_all_stored(site, fleet)
        assert running.text().count("waiting for PostgreSQL") == 1
    assert_sums(site)


def test_backends_terminated_at_random_lose_nothing(site: Site, make_fleet: MakeFleet) -> None:
    site.settings |= {"BATCH_ROWS": "300"}
    fleet = make_fleet(4)
    dice = random.Random(7)
    with consumer(site):
        for _ in range(12):
            fleet.send(300)
            time.sleep(dice.uniform(0, 0.15))
            site.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'fsmon-consumer run' AND datname = current_database()"
            )
        fleet.report()
        assert_all_stored(site, fleet)
    assert_sums(site)


def test_a_replay_makes_only_counted_duplicates(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(4)
    with consumer(site):
        fleet.send(500)
        fleet.send_raw(2, b"x", b"garbage")
        fleet.flush()
        fleet.report()
        site.settled()
    site.execute("UPDATE offsets SET next_offset = 0 WHERE topic LIKE '%events'")
    with consumer(site):
        fleet.send(100)
        fleet.report()
        assert_all_stored(site, fleet)
    assert site.value("SELECT sum(duplicates) FROM streams") == 2000
    assert site.value("SELECT sum(duplicates) FROM offsets") == 2001
    assert site.value("SELECT count(*) FROM dead_letters") == 1
    assert_sums(site)


def test_a_topic_made_anew_is_read_from_its_beginning(site: Site, make_fleet: MakeFleet) -> None:
    first = make_fleet(4)
    with consumer(site):
        first.send(100)
        first.report()
        site.settled()
    admin = AdminClient({"bootstrap.servers": site.bootstrap})
    admin.delete_topics([site.events])[site.events].result(30)
    remake(admin, site.events)
    second = make_fleet(4, seed=2)
    second.send(50)
    second.report()
    with consumer(site) as running:
        running.wait_for("made anew")
        wait_until(lambda: site.value("SELECT count(*) FROM file_events") == 600)
