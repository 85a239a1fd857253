"""The log changes beneath the stored offsets: recognised, counted or refused, never silently skipped."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]
from generator import Fleet
from integration.consumer.running import Running, Site, consumer, remake, wait_until
from local.kafka import Kafka

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]
STORED = "SELECT count(*) FROM file_events"
# Partition 0 of the events, where the only host of these tests is.
FIRST = "topic LIKE '%events' AND partition = 0"


def store(site: Site, fleet: Fleet, count: int) -> None:
    with consumer(site):
        fleet.send(count)
        fleet.report()
        site.settled()


def is_paused(site: Site, running: Running, *words: str) -> None:
    """Partition 0 is, loudly; the others go on."""
    running.wait_for("file-events[0] is paused")
    assert all(word in running.text() for word in words), running.text()
    assert site.rows("SELECT partition FROM offsets WHERE paused IS NOT NULL") == [(0,)]
    assert f"{site.events}[0]" in site.command("audit", "--format", "json").stdout
    other = Fleet(site.bootstrap, site.events, site.reports, hosts=2, partitions=4, seed=5)
    other._send_chunk(other.hosts[1], 10)
    other.flush()
    wait_until(lambda: site.value(f"{STORED} WHERE host_id = 'simulated-0001'") == 10)


def test_messages_deleted_unread_are_counted(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    store(site, fleet, 100)
    fleet.send(60)
    admin = AdminClient({"bootstrap.servers": site.bootstrap})
    place = TopicPartition(site.events, 0, 120)
    next(iter(admin.delete_records([place]).values())).result(30)
    with consumer(site) as running:
        running.wait_for("20 messages were deleted by Kafka's retention")
        fleet.report()
        audit = site.settled()
    assert audit["skipped_by_retention"] == {f"{site.events}[0]": 20}
    [session] = audit["sessions"]
    assert (session["stored"], session["unaccounted"], session["holes"]) == (140, 20, [[100, 120]])


def test_an_offset_beyond_the_log_pauses_its_partition(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    store(site, fleet, 100)
    site.execute(f"UPDATE offsets SET next_offset = 130 WHERE {FIRST}")
    with consumer(site) as running:
        is_paused(site, running, "stored up to offset 130", "the log ends at 100", "by hand")
        fleet.send(50)
    site.execute(f"UPDATE offsets SET next_offset = 90 WHERE {FIRST}")
    fleet.report()
    with consumer(site):
        wait_until(lambda: site.value(f"{STORED} WHERE host_id = 'simulated-0000'") == 150)
        assert site.value("SELECT sum(duplicates) FROM streams") == 10
        assert site.value("SELECT count(*) FROM offsets WHERE paused IS NOT NULL") == 0


def test_a_leader_epoch_gone_back_pauses_its_partition(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    store(site, fleet, 100)
    assert site.value(f"SELECT leader_epoch FROM offsets WHERE {FIRST}") == 0
    site.execute(f"UPDATE offsets SET leader_epoch = 7 WHERE {FIRST}")
    with consumer(site) as running:
        is_paused(site, running, "leader epoch 7 were stored", "epoch 0", "by hand")


def test_a_topic_made_anew_beneath_a_running_consumer(site: Site, make_fleet: MakeFleet) -> None:
    """The new log is longer than the offset reached: Kafka alone would go on in its middle."""
    first = make_fleet(1)
    admin = AdminClient({"bootstrap.servers": site.bootstrap})
    with consumer(site) as running:
        first.send(100)
        first.report()
        site.settled()
        admin.delete_topics([site.events])[site.events].result(30)
        remake(admin, site.events)
        second = make_fleet(1, seed=2)
        second.send(5000)
        second.report()
        running.wait_for("made anew", 60)
        wait_until(lambda: site.value(STORED) == 5100)
        wait_until(lambda: "0 duplicates" in running.text() or site.value(STORED) == 5100)
    assert site.rows("SELECT stored FROM streams ORDER BY stored") == [(100,), (5000,)]


def test_added_partitions_are_read_from_their_beginning(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(4)
    with consumer(site) as running:
        fleet.send(100)
        wait_until(lambda: site.value(STORED) == 400)
        admin = AdminClient({"bootstrap.servers": site.bootstrap})
        admin.create_partitions([NewPartitions(site.events, 6)])[site.events].result(30)
        time.sleep(1)  # the producer is a client, too: it has to hear of them
        more = Fleet(site.bootstrap, site.events, site.reports, hosts=6, partitions=6, seed=3)
        more.send(100)
        fleet.report()
        more.report()
        running.wait_for(f"{site.events}[5]: goes on at offset 0", 60)
        assert site.settled()["complete"]
        assert site.value(STORED) == 1000


def test_a_log_cut_short_and_grown_again_pauses_its_partition(tmp_path: Path, database: str) -> None:
    """As after an unclean leader election: the offset exists, behind other messages (KIP-320)."""
    broker = Kafka(tmp_path / "kafka")
    broker.start()
    try:
        remake(AdminClient({"bootstrap.servers": broker.bootstrap}), "x-events")
        remake(AdminClient({"bootstrap.servers": broker.bootstrap}), "x-reports")
        site = Site(broker.bootstrap, "x-events", "x-reports", database, tmp_path)
        site.migrate()
        fleet = Fleet(site.bootstrap, site.events, site.reports, hosts=1, partitions=4)
        log = tmp_path / "kafka" / "kafka-1.data" / "x-events-0" / f"{0:020}.log"
        fleet.send(100)
        wait_until(lambda: log.stat().st_size > 1000)
        kept = log.stat().st_size
        with consumer(site):
            fleet.send(100)
            fleet.report()
            site.settled()
        broker.nodes[0].kill()
        with log.open("r+b") as cut:
            cut.truncate(kept)
        for index in log.parent.glob("*index"):
            index.unlink()
        broker.start()
        again = Fleet(site.bootstrap, site.events, site.reports, hosts=1, partitions=4, seed=9)
        again.send(300)
        with consumer(site) as running:
            running.wait_for("x-events[0] is paused")
            assert "truncat" in running.text()
        site.execute(f"UPDATE offsets SET next_offset = 100, leader_epoch = NULL WHERE {FIRST}")
        again.report()
        with consumer(site):
            assert site.settled()["complete"]
        assert site.value(STORED) == 500
    finally:
        broker.nodes[0].kill()
