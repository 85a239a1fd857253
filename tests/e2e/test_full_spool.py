"""Kafka away, the spool too small, the producer killed: with drop-oldest the newest events are stored.

The oldest are declared; each operation that was done is one or the other.
"""

import random
import time
from pathlib import Path

import pytest
from e2e.host import OPERATIONS, Host, Load
from fsmon_consumer.ledger import Ranges

pytestmark = [pytest.mark.services, pytest.mark.kernel]
# A tenth of the load of ten seconds: it gives up most of what it is given.
_SMALL = ("--ring-size=8M", "--spool-size=2M", "--spool-full=drop-oldest")


def declared(host: Host) -> set[int]:
    """Of the host's first session."""
    with host.fsmon.database() as database:
        query = "SELECT dropped::text FROM reports WHERE host_id = %s ORDER BY session_start LIMIT 1"
        [(text,)] = database.execute(query, (host.host_id,)).fetchall()
    return {seq for first, end in Ranges.parse(text) for seq in range(first, end)}


def stored(host: Host) -> dict[int, tuple[str, str]]:
    """Operation and file name by seq; of the host's first session, the only one with events."""
    with host.fsmon.database() as database:
        query = "SELECT seq, op, path FROM file_events WHERE host_id = %s"
        rows = database.execute(query, (host.host_id,)).fetchall()
    assert len({seq for seq, _, _ in rows}) == len(rows), "stored twice"
    return {seq: (op, Path(path).name) for seq, op, path in rows}


def must_be_stored_or_declared(host: Host, turns: int) -> tuple[set[int], set[int]]:
    """Each operation; the seqs of both. The load does three a turn, one after the other."""
    assert host.fsmon.audit(settle_seconds=90) == 0
    rows = stored(host)
    assert {seq: row for seq, row in rows.items() if row != (OPERATIONS[seq % 3], str(seq // 3))} == {}
    lost = declared(host) - rows.keys()
    print(f"{3 * turns} operations: {len(rows)} stored, {len(lost)} given up")
    assert rows.keys() | lost == set(range(3 * turns))
    assert host.reported("emitted") == 3 * turns
    assert host.reported("(lost ->> 'ring_full')::bigint") == 0
    return set(rows), lost


def test_what_a_full_spool_gives_up_is_declared_whenever_the_producer_is_killed(host: Host) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    kafka = host.fsmon.stack.kafka
    host.start(*_SMALL)
    load = Load(host.watched)
    while host.stored() == 0:
        time.sleep(0.1)
    kafka.stop()
    time.sleep(8)
    spool = host.fsmon.directory / "producer" / "spool"
    for _ in range(3):
        assert list(spool.rglob("*.dropped")), "nothing was given up before the kill"
        host.fsmon.producer.kill()
        host.start(*_SMALL)
        time.sleep(dice.uniform(1, 3))
    turns = load.stop()
    kafka.start()
    time.sleep(1)
    host.fsmon.producer.kill()  # while it sends what is left
    host.start(*_SMALL)
    host.fsmon.stop_producer()
    kept, lost = must_be_stored_or_declared(host, turns)
    assert len(lost) > 10_000
    assert set(range(max(lost) + 1, 3 * turns)) <= kept, "the newest"
    assert max(lost) < 3 * turns - 5_000
    assert min(lost) > 0, "what had arrived before"
    assert set(range(min(lost))) <= kept
    assert host.sessions() == [("ended", "SIGINT")]


def test_detached_with_a_full_spool_the_next_run_tells_what_was_given_up(host: Host) -> None:
    """The rest of the session and its last report go by the spool alone."""
    kafka = host.fsmon.stack.kafka
    host.start(*_SMALL)
    kafka.stop()
    load = Load(host.watched)
    time.sleep(8)
    turns = load.stop()
    host.fsmon.producer.kill()
    detached = host.run("detach", "--drain-timeout=1", *_SMALL[1:])
    assert detached.returncode == 0, detached.stdout
    kafka.start()
    host.start("--ring-size=8M")
    host.fsmon.stop_producer()
    _, lost = must_be_stored_or_declared(host, turns)
    assert len(lost) > 10_000
    assert host.sessions() == [("ended", "detached"), ("ended", "SIGINT")]
