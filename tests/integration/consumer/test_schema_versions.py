"""Producers of several versions at once, older and newer than the consumer, in one topic."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fix_registry import SchemaRegistry
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema
from fsmon_schemas.framing import confluent_prefix
from generator import Fleet, register
from integration.consumer.running import Site, consumer
from simulated_host import encode

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]


def version(source: Schema, *, without: set[str], extra: list[dict[str, Any]]) -> Schema:
    declared = json.loads(source.text)
    declared["fields"] = [field for field in declared["fields"] if field["name"] not in without] + extra
    return Schema(json.dumps(declared))


def test_older_and_newer_producers_are_stored_side_by_side(
    site: Site, make_fleet: MakeFleet, registry: SchemaRegistry
) -> None:
    site.registry = registry.url
    fleet = make_fleet(1, registry=registry.url)
    host = fleet.hosts[0]
    colour = {"name": "colour", "type": "string", "default": "red"}
    older = version(FILE_EVENT, without={"count", "last_time", "container_id"}, extra=[])
    newer = version(FILE_EVENT, without=set(), extra=[colour])
    declared = json.loads(newer.text)
    next(f for f in declared["fields"] if f["name"] == "op")["type"]["symbols"].append("levitate")
    newer = Schema(json.dumps(declared))
    subject = f"{site.events}-value"
    frames = {schema: confluent_prefix(register(registry.url, subject, schema)) for schema in (older, newer)}
    for number in range(300):
        event = host.event(host.sent)
        if number % 3 == 0:
            fleet.send(1)
            continue
        schema = older if number % 3 == 1 else newer
        event |= {"colour": "blue"} | ({"op": "levitate"} if schema is newer else {})
        fleet.send_raw(0, host.key, frames[schema] + encode(schema, event))
        host.sent += 1
    reports = {
        "older": version(CAPTURE_REPORT, without={"hostname", "operations", "uncovered"}, extra=[]),
        "newer": version(CAPTURE_REPORT, without=set(), extra=[colour]),
    }
    for name, schema in reports.items():
        frame = confluent_prefix(register(registry.url, f"{site.reports}-value", schema))
        report = host.report_record(acked=300, partition=0, offset=299, ended=name == "newer")
        fleet.send_raw(
            0, f"{host.host_id}/{host.session}".encode(), frame + encode(schema, report), site.reports
        )
    with consumer(site) as running:
        assert site.settled()["complete"]
        assert "has fields that are not stored: colour" in running.text()
    assert site.value("SELECT count(*) FROM dead_letters") == 0
    assert site.rows("SELECT count(*), count(*) FILTER (WHERE op = 'levitate') FROM file_events") == [
        (300, 100)
    ]
    assert site.rows("SELECT DISTINCT count, container_id FROM file_events WHERE seq % 3 = 1") == [(1, None)]
    assert site.rows("SELECT state, hostname FROM reports") == [("ended", host.host_id)]
