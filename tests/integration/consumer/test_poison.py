"""Every kind of poison at once: each is set aside with its reason, the rest is stored, the worker lives."""

import json
import random
from collections.abc import Callable

import pytest
from fix_registry import SchemaRegistry
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema
from fsmon_schemas.framing import confluent_prefix
from generator import Fleet, register
from integration.consumer.running import Site, consumer
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
    assert site.rows("SELECT reason FROM dead_letters WHERE topic LIKE '%reports'") == [("refused",)]
    assert site.rows("SELECT count(*), max(length(path)) FROM file_events") == [(host.sent, 900_001)]
    [session] = audit["sessions"]
    assert (session["stored"], session["unaccounted"], session["holes"]) == (host.sent, 0, [])
    assert site.rows("SELECT topic FROM offsets WHERE messages <> stored + duplicates + dead + expired") == []
