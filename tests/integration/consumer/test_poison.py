"""Every kind of poison at once: each is set aside with its reason, the rest is stored, the worker lives."""

import json
import random
from collections.abc import Callable

import pytest
from fix_registry import SchemaRegistry
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema
from fsmon_schemas.framing import confluent_prefix
from generator import Fleet, register
from integration.consumer.running import Site, consumer, refused, wait_until
from simulated_host import encode

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]
YEAR_9000 = 221_845_392_000_000_000


def test_every_kind_of_poison(site: Site, make_fleet: MakeFleet, registry: SchemaRegistry) -> None:
    site.registry = registry.url
    fleet = make_fleet(1, registry=registry.url)
    host = fleet.hosts[0]
    declared = json.loads(FILE_EVENT.text)
    next(field for field in declared["fields"] if field["name"] == "pid")["type"] = "string"
    other_types = Schema(json.dumps(declared))
    strange = confluent_prefix(register(registry.url, f"{site.events}-strange", other_types))
    long_name = random.Random(1).randbytes(2000).hex()  # nothing that would compress

    def event(**changes: object) -> bytes:
        return host.frame + encode(FILE_EVENT, host.event(host.sent) | changes)

    poison: list[tuple[str, bytes, bytes | None]] = [
        ("framing", host.key, b"garbage"),
        ("framing", host.key, None),
        ("unknown_schema", host.key, confluent_prefix(2_000_000_000) + b"body"),
        ("wrong_schema", host.key, strange + encode(other_types, host.event(0) | {"pid": "1"})),
        ("wrong_schema", host.key, confluent_prefix(register(registry.url, "r", CAPTURE_REPORT)) + b"x"),
        ("undecodable", host.key, host.frame),
        ("undecodable", host.key, host.frame + b"\xff" * 40),
        ("key_mismatch", b"someone-else", event()),
        ("nul", host.key, event(path="/a\0b")),
        ("nul", host.key, event(comm="\0")),
        ("time", host.key, event(time=YEAR_9000)),
        ("time", host.key, event(time=-(1 << 62))),
        ("time", host.key, event(last_time=(1 << 62))),
        ("negative", host.key, event(seq=-1)),
        ("host_id", long_name.encode(), event(host_id=long_name)),
    ]
    with consumer(site) as running:
        for _, key, value in poison:
            fleet.send_raw(0, key, value)
            fleet.send(2)
        # Not poison: what no file system has, and PostgreSQL takes.
        fleet.send_raw(0, host.key, event(path="/" + "x" * 900_000))
        host.sent += 1
        fleet.send(2)
        fleet.report()
        report_key = f"{long_name}/{host.session}".encode()
        record = host.report_record(acked=1, partition=0, offset=0, ended=True) | {"host_id": long_name}
        report_frame = confluent_prefix(register(registry.url, f"{site.reports}-value", CAPTURE_REPORT))
        fleet.send_raw(0, report_key, report_frame + encode(CAPTURE_REPORT, record), topic=site.reports)
        fleet.flush()
        audit = site.settled()
        assert running.process.poll() is None
    told = site.rows("SELECT reason FROM dead_letters WHERE topic LIKE '%events' ORDER BY message_offset")
    assert [reason for (reason,) in told] == [reason for reason, _, _ in poison]
    assert site.rows("SELECT reason FROM dead_letters WHERE topic LIKE '%reports'") == [("host_id",)]
    assert site.rows("SELECT count(*), max(length(path)) FROM file_events") == [(host.sent, 900_001)]
    [session] = audit["sessions"]
    assert (session["stored"], session["unaccounted"], session["holes"]) == (host.sent, 0, [])
    assert site.rows("SELECT topic FROM offsets WHERE messages <> stored + duplicates + dead + expired") == []


def test_what_the_database_refuses_is_one_letter_and_no_more(site: Site, make_fleet: MakeFleet) -> None:
    """Also where it refuses the letter's identity; a rule of the operator's own stands for any reason."""
    fleet = make_fleet(3)
    unwanted, of_no_row, sound = fleet.hosts
    site.execute(
        f"ALTER TABLE streams ADD CHECK (host_id <> '{unwanted.host_id}');"
        f"ALTER TABLE reports ADD CHECK (host_id <> '{unwanted.host_id}');"
        f"ALTER TABLE file_events ADD CHECK (host_id <> '{of_no_row.host_id}' OR seq <> 1)"
    )
    with consumer(site) as running:
        for host, count in ((unwanted, 1), (of_no_row, 3), (sound, 3)):
            for value in host.messages(count):
                fleet.send_raw(fleet.partition(host), host.key, value)
        fleet.report()
        wait_until(lambda: site.value("SELECT coalesce(sum(messages), 0) FROM offsets") == 10)
        assert running.process.poll() is None
    letters = "SELECT convert_from(key, 'UTF8'), seq, detail FROM dead_letters WHERE reason = 'refused'"
    found = sorted(site.rows(letters))
    assert [(key, seq) for key, seq, _ in found] == [
        (unwanted.host_id, None),
        (f"{unwanted.host_id}/{unwanted.session}", None),
        (of_no_row.host_id, 1),
    ]
    assert all("23514" in detail for *_, detail in found)
    stored = "SELECT host_id, seq FROM file_events ORDER BY 1, 2"
    assert site.rows(stored) == [
        *((of_no_row.host_id, seq) for seq in (0, 2)),
        *((sound.host_id, seq) for seq in range(3)),
    ]
    assert site.rows("SELECT topic FROM offsets WHERE messages <> stored + duplicates + dead + expired") == []


def test_a_rule_that_refuses_all_pauses_the_partition(site: Site, make_fleet: MakeFleet) -> None:
    """Rather than empty the topic into the dead letters, a message a transaction."""
    fleet = make_fleet(1)
    site.execute("ALTER TABLE file_events ADD CHECK (seq < 2)")
    with consumer(site, "--pause-after=10") as running:
        fleet.send(100)
        running.wait_for("is paused")
        assert "10 messages in a row could not be stored" in running.text()
        assert running.process.poll() is None
    found = "SELECT (SELECT count(*) FROM file_events), (SELECT count(*) FROM dead_letters)"
    assert site.rows(found) == [(2, 9)]
    assert site.value("SELECT sum(next_offset) FROM offsets WHERE partition = 0") == 11


def test_a_table_that_is_gone_is_no_dead_letter(site: Site, make_fleet: MakeFleet) -> None:
    site.execute("DROP TABLE reports")
    make_fleet(1).report()
    assert "run fsmon-consumer migrate" in refused(site, 1, "run")
    assert site.rows("SELECT count(*) FROM dead_letters") == [(0,)]
