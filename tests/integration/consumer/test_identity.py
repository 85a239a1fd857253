"""Identities that cannot be believed: a cloned machine, a damaged session or seq; and those that can."""

from collections.abc import Callable

import pytest
from fsmon_schemas import FILE_EVENT
from generator import Fleet
from integration.consumer.running import Site, consumer, wait_until
from simulated_host import encode

pytestmark = pytest.mark.services
MakeFleet = Callable[..., Fleet]
STORED = "SELECT count(*) FROM file_events"


def send(fleet: Fleet, number: int, **changes: object) -> None:
    """The host's event of that number, but for ``changes``."""
    host = fleet.hosts[0]
    fleet.send_raw(0, host.key, host.frame + encode(FILE_EVENT, host.event(number) | changes))
    fleet.flush()


def test_a_cloned_machine_is_an_alarm_and_not_a_duplicate(site: Site, make_fleet: MakeFleet) -> None:
    """Its session lives twice: the same numbers, other events, a moment earlier or later."""
    fleet = make_fleet(1)
    with consumer(site) as running:
        fleet.send(100)
        wait_until(lambda: site.value(STORED) == 100)
        for seq in range(50, 60):
            send(fleet, seq, boot_time=7_000 + seq)
        for seq in range(60, 70):
            send(fleet, seq)  # and these came twice
        fleet.report()
        audit = site.settled()
        running.wait_for("two producers send as one host")
    assert site.rows("SELECT reason, count(*) FROM dead_letters GROUP BY 1") == [("identity_conflict", 10)]
    assert site.rows("SELECT stored, duplicates, dead FROM streams") == [(100, 10, 0)]
    assert audit["unattributed_dead_letters"] == {"simulated-0000": 10}
    assert site.value(STORED) == 100


def test_a_damaged_session_or_seq_takes_nobodys_place(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    host = fleet.hosts[0]
    with consumer(site):
        fleet.send(10)
        send(fleet, 10, seq=11)  # the neighbour's
        send(fleet, 11)
        send(fleet, 12, seq=5_000_000_000)
        send(fleet, 13)
        send(fleet, 14, session=host.session ^ 1 << 40)
        send(fleet, 15)
        send(fleet, 16)
        host.sent = 17
        fleet.report()
        audit = site.settled()
    assert site.rows("SELECT reason, count(*) FROM dead_letters GROUP BY 1") == [("out_of_place", 3)]
    [session] = audit["sessions"]
    assert (session["stored"], session["holes"]) == (14, [[10, 11], [12, 13], [14, 15]])
    assert site.value("SELECT max(seq) FROM file_events") == 16


def test_a_real_gap_is_stored_and_shown_also_in_a_trickle(site: Site, make_fleet: MakeFleet) -> None:
    """Each event comes alone: what it stands behind is told by its successor, or by the report."""
    fleet = make_fleet(1)
    host = fleet.hosts[0]
    with consumer(site):
        fleet.send(10)
        wait_until(lambda: site.value(STORED) == 10)
        send(fleet, 40)
        host.sent = 41
        fleet.report(ended=False)
        wait_until(lambda: site.value(STORED) == 11)
        for seq in range(41, 44):
            send(fleet, seq)
            wait_until(lambda: site.value("SELECT max(seq) FROM file_events") == seq)  # noqa: B023 - at once
        host.sent = 44
        fleet.report()
        [session] = site.settled()["sessions"]
    assert (session["stored"], session["unaccounted"], session["holes"]) == (14, 30, [[10, 40]])
    assert site.value("SELECT count(*) FROM dead_letters") == 0


def test_a_lone_event_of_no_known_session_is_set_aside(site: Site, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(1)
    with consumer(site):
        send(fleet, 77, session=5)
        wait_until(lambda: site.rows("SELECT reason FROM dead_letters") == [("out_of_place",)])
        assert site.value("SELECT count(*) FROM streams") == 0
        done = site.command("dead-letters", "replay", "--all")
        assert "stored 1" in done.stdout, done.stderr
        assert site.rows("SELECT session, seq FROM file_events") == [(5, 77)]
