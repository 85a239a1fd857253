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
from fsmon_consumer.migrate import migrate
from fsmon_consumer.registry import WriterSchemas
from fsmon_consumer.store import Database
from fsmon_schemas import CAPTURE_REPORT
from fsmon_schemas.framing import single_object_prefix
from simulated_host import SimulatedHost

pytestmark = pytest.mark.services
FRAME = single_object_prefix(CAPTURE_REPORT)
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
