"""Seqs that a producer's full spool gave up: declared they are lost, undeclared they are a fault."""

from collections.abc import Callable

import pytest
from fix_registry import SchemaRegistry
from fsmon_schemas import CAPTURE_REPORT
from fsmon_schemas.framing import confluent_prefix
from generator import Fleet, register
from integration.consumer.running import Site, consumer
from integration.consumer.test_schema_versions import version
from simulated_host import encode

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]


def test_a_declared_gap_is_lost_and_an_undeclared_one_a_fault(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    host = fleet.hosts[0]
    with consumer(site):
        fleet.send(100)
        host.sent += 50
        fleet.send(1)  # alone between two gaps
        host.sent += 49
        fleet.send(100)
        fleet.report(dropped=[{"first": 100, "end": 150}])
        found = site.settled()
        [session] = found["sessions"]
        assert (session["stored"], session["lost"], session["unaccounted"]) == (201, {"spool": 50}, 49)
        assert (session["holes"], found["complete"]) == ([[151, 200]], False)
        fleet.report(dropped=[{"first": 100, "end": 200}])  # 150 was under way, and has arrived
        found = site.settled()
        [session] = found["sessions"]
        assert (session["lost"], session["unaccounted"], found["complete"]) == ({"spool": 99}, 0, True)
        assert session["dropped"] == [[100, 150], [151, 200]]
    assert site.value("SELECT count(*) FROM dead_letters") == 0
    assert site.value("SELECT duplicates FROM streams") == 0


def test_what_was_declared_stays_whatever_an_older_producer_reports(
    site: Site, make_fleet: MakeFleet, registry: SchemaRegistry
) -> None:
    site.registry = registry.url
    fleet = make_fleet(1, registry=registry.url)
    host = fleet.hosts[0]
    older = version(CAPTURE_REPORT, without={"dropped"}, extra=[])
    frame = confluent_prefix(register(registry.url, f"{site.reports}-value", older))
    with consumer(site):
        host.sent += 50
        fleet.send(50)
        fleet.report(ended=False, dropped=[{"first": 0, "end": 50}])
        site.settled()
        report = host.report_record(acked=100, partition=0, offset=49, ended=True)
        key = f"{host.host_id}/{host.session}".encode()
        fleet.send_raw(0, key, frame + encode(older, report), site.reports)
        found = site.settled()
    [session] = found["sessions"]
    assert (session["state"], session["lost"], found["complete"]) == ("ended", {"spool": 50}, True)
