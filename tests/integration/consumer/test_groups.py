"""One database, one group: two groups on a database and two databases in a group are refused."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, TopicPartition
from fix_postgres import fresh_database
from generator import Fleet
from integration.consumer.running import Site, consumer, refused, wait_until

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]
REFUSAL = "a group of its own with --group"


@pytest.fixture
def other(site: Site) -> Iterator[Site]:
    """The same topics and group, and another database."""
    with fresh_database(site.dsn) as dsn:
        made = replace(site, dsn=dsn, directory=site.directory / "other")
        made.directory.mkdir()
        made.migrate()
        yield made


def marks(site: Site) -> list[str]:
    """What is written beside the group's offset of each partition of the events."""
    onlooker = Consumer({"bootstrap.servers": site.bootstrap, "group.id": site.events})
    try:
        places = [TopicPartition(site.events, partition) for partition in range(4)]
        return [str(each.metadata or "") for each in onlooker.committed(places, timeout=10)]
    finally:
        onlooker.close()


def database_id(site: Site) -> str:
    return str(site.value("SELECT database_id FROM installation"))


def test_another_group_is_refused(site: Site, make_fleet: MakeFleet) -> None:
    with consumer(site) as running:
        make_fleet(1).send(1)
        running.wait_for("goes on at")
        wait_until(lambda: site.value("SELECT count(*) FROM file_events") == 1)
    assert "belongs to the consumer group" in refused(site, 1, "run", "--group", "another")


def test_another_database_in_the_group_is_refused(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(4)
    with consumer(site) as running:
        fleet.send(10)
        fleet.report()
        running.wait_for("goes on at")
        site.settled()
    site.execute(  # as a fresh database has it
        "UPDATE installation SET database_id = gen_random_uuid(), group_id = NULL, cluster_id = NULL; "
        "TRUNCATE offsets, streams, reports, file_events"
    )
    assert "a group of its own with --group" in refused(site, 1, "run")
    with consumer(site, "--group", f"{site.events}-own"):
        assert site.settled()["complete"]


def test_another_database_is_refused_before_the_first_event(site: Site, other: Site) -> None:
    with consumer(site):
        wait_until(lambda: marks(site) == 4 * [database_id(site)])
        assert REFUSAL in refused(other, 1, "run")
    assert other.rows("SELECT group_id FROM installation") == [(None,)]


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_of_two_databases_that_start_at_once_one_gets_everything(
    site: Site, other: Site, make_fleet: MakeFleet, protocol: str
) -> None:
    """Each has looked before the other left its mark."""
    fleet = make_fleet(8)
    for each in (site, other):
        each.settings["GROUP_PROTOCOL"] = protocol
        if protocol == "classic":  # who leaves before it has been let in is waited for
            each.settings["KAFKA"] = "session.timeout.ms=3000 heartbeat.interval.ms=500"
    with consumer(site, ends={0, 1}) as first, consumer(other, ends={0, 1}) as second:
        ends = [first, second]
        wait_until(lambda: sum(each.process.poll() is not None for each in ends) == 1)
        fleet.send(100)
        fleet.report()
        [(loser, _), (_, winner)] = sorted(
            [(first, site), (second, other)], key=lambda pair: pair[0].process.poll() is None
        )
        assert loser.process.poll() == 1
        assert "is filling another database" in loser.text()
        assert winner.settled()["complete"]
        assert winner.value("SELECT count(*) FROM file_events") == 800
        wait_until(lambda: marks(site) == 4 * [database_id(winner)])
