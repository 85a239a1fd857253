"""Capture reports as the ledger keeps them, and what the audit makes of several of a session or a host."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fsmon_consumer import claims
from fsmon_consumer.audit import Session, audit
from fsmon_consumer.batch import Decoder, LogSlice
from fsmon_consumer.claims import LogBounds
from fsmon_consumer.flush import flush
from fsmon_consumer.migrate import migrate, migrations
from fsmon_consumer.registry import WriterSchemas
from fsmon_consumer.store import Database
from fsmon_schemas import CAPTURE_REPORT
from fsmon_schemas.framing import single_object_prefix
from simulated_host import SimulatedHost

pytestmark = pytest.mark.services
FRAME = single_object_prefix(CAPTURE_REPORT)
SECOND, HOUR = 1_000_000_000, 3_600_000_000  # of boot_time, of time
EVENTS, REPORTS = ("events", 3), ("reports", 0)


class Ledger:
    """A database whose worker is fed reports only."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._decode = Decoder(REPORTS[0], WriterSchemas(None).find).decode
        self._claims = {place: self._claim(place) for place in (EVENTS, REPORTS)}

    def _claim(self, place: tuple[str, int]) -> claims.Claim:
        log = LogBounds("t", 0, 10_000)
        return claims.claim(self.database, place, log, worker="w", takeover_after=timedelta(seconds=1))

    def report(self, session: int, acked: int = 0, offset: int | None = None, **changes: Any) -> None:
        """The session's next report arrives; every event it has captured is acknowledged."""
        host = SimulatedHost("h", session, b"", 0, sent=acked)
        partition = None if offset is None else EVENTS[1]
        body = host.report(acked=acked, partition=partition, offset=offset, ended=False, **changes)
        held = self._claims[REPORTS] = self._claim(REPORTS)
        now, key = datetime.now(UTC), f"h/{session}".encode()
        batch = self._decode([LogSlice(*REPORTS, 1, [key], [FRAME + body], [held.next_offset])], now)
        assert batch.reports, batch.dead
        flush(self.database, batch, self._claims, now)

    def stored(self, session: int, upto: int) -> None:
        """The consumer has stored the session's events below ``upto``, which lie at the same offsets."""
        self.database.rows(
            "INSERT INTO streams (host_id, session, partition, seen, stored) "
            "VALUES ('h', %s, 3, int8multirange(int8range(0, %s)), %s)",
            [session, upto, upto],
        )
        self.database.rows("UPDATE offsets SET next_offset = %s WHERE topic = 'events'", [upto])

    def audit(self) -> dict[int, Session]:
        return {each.session: each for each in audit(self.database, EVENTS[0]).sessions}


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    opened = Database(database, role="test")
    opened.connect()
    migrate(opened)
    yield Ledger(opened)
    opened.close()


def test_an_offset_says_nothing_of_what_was_acknowledged_after_it(ledger: Ledger) -> None:
    """A producer that took over knows how far the one before came, and not at which offset."""
    ledger.report(1, 500, 499)
    ledger.report(1, 1000)
    ledger.stored(1, 600)
    found = ledger.audit()[1]
    assert (found.captured, found.in_flight, found.unaccounted) == (1000, 400, 0)
    ledger.report(1, 1000, 999)
    ledger.database.rows("UPDATE offsets SET next_offset = 1000 WHERE topic = 'events'")
    assert ledger.audit()[1].unaccounted == 400


def test_an_offset_once_known_is_kept(ledger: Ledger) -> None:
    """The reader is past it: what was acknowledged up to there is there or missing."""
    ledger.stored(1, 600)
    ledger.report(1, 500, 499)
    ledger.report(1, 1000)
    ledger.database.rows("UPDATE streams SET seen = '{[0,300)}', stored = 300")
    found = ledger.audit()[1]
    assert (found.captured, found.in_flight, found.unaccounted) == (1000, 500, 200)


def test_a_clock_set_back_leaves_the_order_of_a_boots_sessions(ledger: Ledger) -> None:
    """The producer is upgraded three hours after it began, by its clock before that."""
    noon = 1_800_000_000_000_000
    ledger.report(1, session_start=noon, time=noon, boot_time=100 * SECOND)
    ledger.report(1, session_start=noon, time=noon + HOUR, boot_time=3700 * SECOND)
    ended: dict[str, Any] = {"state": "ended", "end_reason": "upgraded"}
    ledger.report(1, session_start=noon, time=noon - 2 * HOUR, boot_time=3710 * SECOND, **ended)
    ledger.report(2, session_start=noon - 2 * HOUR, time=noon - 2 * HOUR, boot_time=3720 * SECOND)
    ledger.report(2, session_start=noon - 2 * HOUR, time=noon + HOUR, boot_time=20_000 * SECOND)
    assert {session: (each.note, each.unaccounted) for session, each in ledger.audit().items()} == {
        1: ("upgraded", 0),
        2: ("", 0),
    }


def test_a_clock_set_back_at_a_restart_leaves_the_order_of_boots(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Also once its time comes by again, and with a last report that waited in the spool till then."""
    noon = 1_800_000_000_000_000
    ledger.report(1, boot_id="b1", session_start=noon, time=noon + 2 * HOUR, boot_time=9000 * SECOND)
    for hours in range(-3, 3):
        boot_time = (hours + 4) * 3600 * SECOND
        ledger.report(
            2, boot_id="b2", session_start=noon - 3 * HOUR, time=noon + hours * HOUR, boot_time=boot_time
        )
    cut, live = ledger.audit()[1], ledger.audit()[2]
    assert "the host restarted without a last report" in cut.note
    assert (cut.unaccounted, live.note, live.unaccounted) == (None, "", 0)
    last: dict[str, Any] = {"state": "ended", "end_reason": "stopped"}
    ledger.report(1, boot_id="b1", session_start=noon, time=noon + 3 * HOUR, boot_time=9999 * SECOND, **last)
    cut, live = ledger.audit()[1], ledger.audit()[2]
    assert (cut.note, cut.unaccounted, live.note, live.unaccounted) == ("stopped", 0, "", 0)
    assert not caplog.records


def test_two_machines_that_report_by_turns_are_clones(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    for turn in range(1, 5):
        now = 1_800_000_000_000_000 + turn * HOUR
        for session, boot in ((1, "b1"), (2, "b2")):
            ledger.report(session, boot_id=boot, time=now, boot_time=turn * SECOND)
    first, second = ledger.audit()[1], ledger.audit()[2]
    assert "another machine runs as this host at the same time" in first.note
    assert (first.unaccounted, second.note, second.unaccounted) == (0, "", 0)
    [said] = caplog.messages
    assert "two producers send as one host: h" in said
    assert "b1" in said


def test_reports_that_only_arrive_late_are_no_clones(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of the boot before, replayed or read behind those of the live one."""
    noon = 1_800_000_000_000_000
    live: dict[str, Any] = {"boot_id": "b2", "session_start": noon}
    for turn in range(1, 3):
        ledger.report(2, time=noon + turn * HOUR, boot_time=turn * SECOND, **live)
        for part in (2 * turn, 2 * turn + 1):
            ledger.report(1, boot_id="b1", session_start=noon - HOUR, time=noon - 9, boot_time=part * SECOND)
    for turn in range(3, 6):
        ledger.report(2, time=noon + turn * HOUR, boot_time=turn * SECOND, **live)
    assert not caplog.records
    assert [each.note for each in ledger.audit().values() if "machine" in each.note] == []


def test_a_worker_of_the_version_before_goes_on_after_the_migration(ledger: Ledger) -> None:
    """Its statement names no column that is new."""
    columns = "column_name NOT IN ('placed_seq', 'arrival', 'first_boot_time', 'beside')"
    [(old,)] = ledger.database.rows(
        "SELECT string_agg(column_name, ', ') FROM information_schema.columns "
        f"WHERE table_name = 'reports' AND {columns}"
    )
    ledger.report(1, 10, 9)
    ledger.database.rows(
        f"INSERT INTO reports ({old}) SELECT {old.replace('session,', '5 AS session,', 1)} FROM reports"
    )
    assert set(ledger.audit()) == {1, 5}
    ledger.report(5, 20, 19)
    assert ledger.audit()[5].captured == 20


def test_two_producers_of_one_machine_have_not_replaced_each_other(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    for turn in range(1, 5):
        for session in (1, 2):
            ledger.report(session, boot_time=turn * SECOND + session)
    first, second = ledger.audit()[1], ledger.audit()[2]
    assert "another producer of this machine" in first.note
    assert (first.unaccounted, second.note, second.unaccounted) == (0, "", 0)
    assert not caplog.records


def test_reports_of_before_the_ledger_kept_their_order_come_in_that_of_their_sessions(ledger: Ledger) -> None:
    """A database that is migrated has only what the reports say."""
    sql = next(each.sql for each in migrations() if each.number == 7)
    for session in (1, 2, 3):
        start = 1_800_000_000_000_000 + session * HOUR
        now = {"session_start": start, "time": start + HOUR, "boot_time": 2000 * HOUR}
        ledger.report(session, 10, 9, **now)
    ledger.report(9, session_start=0, time=13_600_000_000_000_000, boot_time=5)  # damaged: centuries
    ledger.database.rows(
        "ALTER TABLE reports DROP COLUMN placed_seq, DROP COLUMN arrival, DROP COLUMN first_boot_time, "
        "DROP COLUMN beside"
    )
    ledger.database.rows(sql)
    kept = "SELECT session, placed_seq, arrival, boot_time - first_boot_time FROM reports ORDER BY arrival"
    hour = 1000 * HOUR
    assert ledger.database.rows(kept) == [(1, 10, 1, hour), (2, 10, 2, hour), (3, 10, 3, hour), (9, 0, 4, 5)]
    ledger.report(4)
    assert ledger.database.rows("SELECT arrival FROM reports WHERE session = 4") == [(5,)]
