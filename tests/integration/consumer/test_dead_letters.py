"""Dead letters by hand: looked at, stored after all, removed; the accounts stay right."""

import json
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient
from fix_registry import SchemaRegistry
from fsmon_schemas import FILE_EVENT
from fsmon_schemas.framing import confluent_prefix
from generator import Fleet, register
from integration.consumer.running import Site, consumer, refused, remake, wait_until
from simulated_host import encode

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]


def sums(site: Site) -> list[tuple[int, ...]]:
    """messages, stored, duplicates, dead, expired; they always add up."""
    found = site.rows(
        "SELECT sum(messages), sum(stored), sum(duplicates), sum(dead), sum(expired) FROM offsets "
        "WHERE topic LIKE '%events'"
    )
    assert all(row[0] == sum(row[1:]) for row in found), found
    return found


def test_a_registry_put_right_brings_the_dead_back(
    site: Site, make_fleet: MakeFleet, registry: SchemaRegistry
) -> None:
    """Single messages of a schema that could not be found: replay stores them, and the holes are gone."""
    fleet = make_fleet(2)
    strange = confluent_prefix(register(registry.url, f"{site.events}-value", FILE_EVENT))
    host = fleet.hosts[0]
    with consumer(site):
        fleet.send(50)
        for seq in range(50, 53):
            fleet.send_raw(0, host.key, strange + encode(FILE_EVENT, host.event(seq)))
        fleet.send_raw(0, host.key, b"garbage")
        host.sent += 3
        fleet.send(50)
        fleet.report()
        wait_until(lambda: site.value("SELECT count(*) FROM file_events") == 200)
        assert site.settled()["complete"] is False
        assert sums(site) == [(204, 200, 0, 4, 0)]
        listed = site.command("dead-letters", "list").stdout
        assert "4 dead letters: framing 1, unknown_schema 3" in listed
        name = listed.split()[0]
        assert name == f"{site.events}/0/50"
        shown = json.loads(site.command("dead-letters", "show", name).stdout)
        assert (shown["reason"], shown["key"]) == ("unknown_schema", host.host_id)
        assert "none is configured" in shown["unreadable"]
        still = site.command("dead-letters", "replay", "--all").stdout
        assert "replayed 4 dead letters: still framing 1, still unknown_schema 3" in still
        site.registry = registry.url
        assert json.loads(site.command("dead-letters", "show", name).stdout)["content"]["seq"] == 50
        done = site.command("dead-letters", "replay", "--reason", "unknown_schema")
        assert "replayed 3 dead letters: stored 3" in done.stdout, done.stderr
        assert sums(site) == [(204, 203, 0, 1, 0)]
        assert site.settled()["complete"]
        fleet.send(50)  # the worker whose locks we borrowed goes on
        fleet.report()
        assert site.settled()["complete"]
    assert sums(site) == [(304, 303, 0, 1, 0)]
    identities = "SELECT count(*), count(DISTINCT (host_id, session, seq)) FROM file_events"
    assert site.rows(identities) == [(303, 303)]
    assert "removed 1 dead letters" in site.command("dead-letters", "purge", "--all").stdout
    assert sums(site) == [(304, 303, 0, 1, 0)]


def test_a_letter_that_counted_as_its_event_is_counted_anew(site: Site, make_fleet: MakeFleet) -> None:
    """NUL in a path: the seq is known, so the account was closed; replayed by a version that stores it."""
    fleet = make_fleet(1)
    host = fleet.hosts[0]
    with consumer(site):
        fleet.send(10)
        fleet.send_raw(0, host.key, host.frame + encode(FILE_EVENT, host.event(10) | {"path": "/a\0b"}))
        host.sent += 1
        fleet.send(10)
        fleet.report()
        assert site.settled()["complete"]
    assert site.rows("SELECT stored, dead FROM streams") == [(20, 1)]
    assert site.rows("SELECT reason, seq FROM dead_letters") == [("nul", 10)]
    body = host.frame + encode(FILE_EVENT, host.event(10))
    site.execute(f"UPDATE dead_letters SET value = '\\x{body.hex()}'")
    assert "stored 1" in site.command("dead-letters", "replay", "--key", host.host_id).stdout
    assert site.rows("SELECT stored, dead, seen::text FROM streams") == [(21, 0, "{[0,21)}")]
    assert site.settled()["complete"]
    assert sums(site) == [(21, 21, 0, 0, 0)]


def test_what_was_stored_meanwhile_is_a_duplicate(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    host = fleet.hosts[0]
    with consumer(site):
        fleet.send_raw(0, host.key, b"garbage")
        fleet.send(10)
        fleet.report()
        site.settled()
    body = host.frame + encode(FILE_EVENT, host.event(3))
    site.execute(f"UPDATE dead_letters SET value = '\\x{body.hex()}'")
    assert "duplicates 1" in site.command("dead-letters", "replay", "--all").stdout
    assert sums(site) == [(11, 10, 1, 0, 0)]
    assert site.value("SELECT count(*) FROM file_events") == 10


def test_commands_that_do_not_say_which(site: Site) -> None:
    assert "--all" in refused(site, 2, "dead-letters", "purge")
    assert "--all" in refused(site, 2, "dead-letters", "replay")
    assert "no reason nosuch; there are" in refused(site, 2, "dead-letters", "list", "--reason", "nosuch")
    assert "--older" in refused(site, 2, "dead-letters", "list", "--older", "5 moons")
    assert "no dead letter a/0/1" in refused(site, 1, "dead-letters", "show", "a/0/1")
    assert "0 dead letters" in site.command("dead-letters", "list").stdout


def test_a_letter_of_a_topic_made_anew_moves_no_offset(site: Site, make_fleet: MakeFleet) -> None:
    """It lies at offset 50 of the old log, the new one has been read up to 10: nothing is skipped."""
    fleet = make_fleet(1)
    host, admin = fleet.hosts[0], AdminClient({"bootstrap.servers": site.bootstrap})
    body = host.frame + encode(FILE_EVENT, host.event(50) | {"path": "/a\0b"})
    with consumer(site):
        fleet.send(50)
        fleet.send_raw(0, host.key, body)
        fleet.flush()
        wait_until(lambda: site.value("SELECT count(*) FROM dead_letters") == 1)
    host.sent = 51
    fleet.report()
    admin.delete_topics([site.events])[site.events].result(30)
    remake(admin, site.events)
    second = make_fleet(1, seed=2)
    with consumer(site):
        second.send(10)
        wait_until(lambda: site.value("SELECT count(*) FROM file_events") == 60)
    body = host.frame + encode(FILE_EVENT, host.event(50))
    site.execute(f"UPDATE dead_letters SET value = '\\x{body.hex()}'")
    reached = "SELECT next_offset FROM offsets WHERE partition = 0 AND topic LIKE '%events'"
    with consumer(site) as running:
        running.wait_for(f"{site.events}[0]: goes on at offset 10")
        assert "stored 1" in site.command("dead-letters", "replay", "--all").stdout
        assert site.value(reached) == 10
        second.send(90)
        second.report()
        assert site.settled()["complete"]
        assert "another worker" not in running.text()
    assert site.rows("SELECT stored, dead FROM streams ORDER BY stored") == [(51, 0), (100, 0)]
    assert site.value("SELECT sum(skipped) FROM offsets") == 0
    assert sums(site) == [(151, 151, 0, 0, 0)]


def test_a_letter_that_dies_again_stays_with_the_topic_it_was_read_from(
    site: Site, make_fleet: MakeFleet
) -> None:
    """Believed to lie in the new log it would stand for that log's own message of its offset."""
    fleet = make_fleet(1)
    host = fleet.hosts[0]
    with consumer(site):
        fleet.send_raw(0, host.key, b"garbage")
        fleet.send(10)
        fleet.report()
        site.settled()
    body = host.frame + encode(FILE_EVENT, host.event(3) | {"boot_time": 7})
    site.execute(f"UPDATE dead_letters SET value = '\\x{body.hex()}', topic_id = 'the old one'")
    assert "dead 1" in site.command("dead-letters", "replay", "--all").stdout
    assert site.rows("SELECT topic_id, reason FROM dead_letters") == [("the old one", "identity_conflict")]
    assert sums(site) == [(11, 10, 0, 1, 0)]
