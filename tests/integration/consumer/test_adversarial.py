"""Valid Avro that is meant to hurt: whatever stands in it, the worker lives and no neighbour is touched."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema
from fsmon_schemas.framing import single_object_prefix
from generator import Fleet
from integration.consumer.running import Running, Site, consumer, wait_until
from simulated_host import SimulatedHost, encode

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]
MARKER = "to be replaced"
NOT_UTF8 = b"\xed\xa0\x80" + b"\xff" * (len(MARKER) - 3)  # a lone surrogate, and worse
TEXTS = ("a\0b", "", "x" * 400_000, MARKER)
NUMBERS = (0, -1, 1 << 31, (1 << 63) - 1, -(1 << 63))
SPANS: tuple[list[tuple[int, int]], ...] = (
    [(5, 3)],
    [(0, (1 << 63) - 1)],
    [((1 << 63) - 2, (1 << 63) - 1), (7, 7)],
    [(-(1 << 63), (1 << 63) - 1)],
    [(-3, 4)],
    [(50, 60), (10, 55), (0, 11), (10, 20)],
    [(2 * number, 2 * number + 1) for number in range(100_000)],
)


def variants(schema: Schema) -> Iterator[dict[str, Any]]:
    """For each field of text or number, each of what it should not hold."""
    for field in schema.declared["fields"]:
        kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
        kind = kind["type"] if isinstance(kind, dict) else kind
        for value in {"string": TEXTS, "long": NUMBERS}.get(kind, ()):
            yield {field["name"]: value}


def body_of(schema: Schema, record: dict[str, Any]) -> bytes:
    return encode(schema, record).replace(MARKER.encode(), NOT_UTF8)


def key_of(host_id: str) -> bytes:
    return host_id.encode().replace(MARKER.encode(), NOT_UTF8)


def test_events(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    host = fleet.hosts[0]
    sound: dict[int, dict[str, Any]] = {}

    def send_sound(count: int) -> None:
        sound.update({seq: host.event(seq) for seq in range(host.sent, host.sent + count)})
        for value in host.messages(count):
            fleet.send_raw(0, host.key, value)

    with consumer(site) as running:
        for number, changes in enumerate(variants(FILE_EVENT)):
            send_sound(2)
            record = host.event(host.sent) | changes
            fleet.send_raw(0, key_of(record["host_id"]), host.frame + body_of(FILE_EVENT, record))
            host.sent += 1
            if number % 40 == 0:
                fleet.flush()
        send_sound(2)
        fleet.flush()
        settle(site, running, host.sent)
        assert_audited(site)
    names = [name for name in host.event(0) if name != "time"]
    columns = ", ".join(f'"{name}"' for name in names)
    micros = "(extract(epoch FROM time) * 1000000)::bigint"
    found: dict[int, list[dict[str, Any]]] = {}
    with psycopg.connect(site.dsn) as connection:
        for micro, *row in connection.execute(
            f"SELECT {micros}, {columns} FROM file_events WHERE host_id = %s AND session = %s",
            [host.host_id, host.session],
        ):
            event = dict(zip(names, row, strict=True)) | {"time": micro}
            found.setdefault(event["seq"], []).append(event)
    assert {seq: found.get(seq) for seq in sound} == {seq: [event] for seq, event in sound.items()}
    reasons = dict(site.rows("SELECT reason, count(*) FROM dead_letters GROUP BY 1"))
    assert "refused" not in reasons, reasons
    texts = sum(1 for changes in variants(FILE_EVENT) if MARKER in changes.values())
    assert reasons["nul"] + reasons["undecodable"] >= 2 * texts


def test_reports(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    host = fleet.hosts[0]
    frame = single_object_prefix(CAPTURE_REPORT)
    strange = [
        *variants(CAPTURE_REPORT),
        *({name: {text: 1}} for name in ("lost", "uncovered") for text in TEXTS),
        *({"lost": {"ring_full": number}} for number in NUMBERS),
        *({"operations": [operation(op=text)]} for text in TEXTS),
        *({"operations": [operation(lost_by_stage={text: 1})]} for text in TEXTS),
        *({"operations": [operation(emitted=number)]} for number in NUMBERS),
        *({"dropped": [{"first": first, "end": end} for first, end in spans]} for spans in SPANS),
    ]
    with consumer(site) as running:
        fleet.send(10)
        for number, changes in enumerate(strange):
            own = SimulatedHost(f"strange-{number}", number, host.frame, host.start_us)
            record = own.report_record(acked=0, partition=0, offset=0, ended=True) | changes
            key = key_of(f"{record['host_id']}/{record['session']}")
            fleet.send_raw(0, key, frame + body_of(CAPTURE_REPORT, record), topic=site.reports)
            if number % 10 == 0:
                fleet.report(ended=False)
        fleet.report()
        settle(site, running, 10 + len(strange) + len(range(0, len(strange), 10)) + 1)
        audit = assert_audited(site)
    [session] = [each for each in audit["sessions"] if each["host_id"] == host.host_id]
    assert (session["state"], session["stored"], session["unaccounted"]) == ("ended", 10, 0)
    reasons = dict(site.rows("SELECT reason, count(*) FROM dead_letters GROUP BY 1"))
    assert "refused" not in reasons, reasons
    stored = site.value("SELECT count(*) FROM reports WHERE host_id LIKE 'strange%'")
    assert stored + sum(reasons.values()) >= len(strange) - len(TEXTS)


def operation(**changes: Any) -> dict[str, Any]:
    return {"op": "read", "emitted": 1, "lost": 1} | changes


def settle(site: Site, running: Running, messages: int) -> None:
    """Everything is read, each message in one place, by a worker that lives."""

    def done() -> bool:
        assert running.process.poll() is None, running.text()[-4000:]
        return bool(site.value("SELECT coalesce(sum(messages), 0) FROM offsets") == messages)

    wait_until(done, 60, lambda: running.text()[-4000:])
    assert site.rows("SELECT topic FROM offsets WHERE messages <> stored + duplicates + dead + expired") == []
    assert site.value("SELECT sum(dead) FROM offsets") == site.value("SELECT count(*) FROM dead_letters")


def assert_audited(site: Site) -> dict[str, Any]:
    """The audit can tell what it is told, however absurd."""
    for form in ("table", "json"):
        done = site.command("audit", "--format", form)
        assert done.returncode in {0, 1}, done.stderr
        assert not done.stderr, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
