"""Events whose identity cannot be believed, kept from the ledger: in dead_letters they harm nobody.

Two kinds: a session or seq that cannot stand where its message stands (order.py), and an identity that
another event has already, which is how a cloned machine shows itself: a message that came twice is the
same event, to the nanosecond of its boot_time.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from fsmon_schemas import FsmonError

from fsmon_consumer.batch import LogSlice, letter_of
from fsmon_consumer.dead_letters import DeadLetter, Reason
from fsmon_consumer.order import Position, judge
from fsmon_consumer.place import Place
from fsmon_consumer.sessions import Sessions
from fsmon_consumer.store import Database, statement
from fsmon_consumer.table import EventTable

_log = logging.getLogger(__name__)
_DOUBT_SECONDS = 2.0
Dead = list[tuple[int, DeadLetter]]


class DoubtError(FsmonError):
    """Whether these messages are in place, only the next ones tell: flush what is before ``offsets``."""

    def __init__(self, offsets: dict[Place, int]) -> None:
        super().__init__(f"to be told by what follows: {offsets}")
        self.offsets = offsets


class Doubts:
    """How long each partition's first doubtful message has been waited for."""

    def __init__(self) -> None:
        self._since: dict[tuple[Place, int], float] = {}

    def over(self, place: Place, offset: int) -> bool:
        """Whether it is time to decide by what is known."""
        now = time.monotonic()
        self._since = {key: since for key, since in self._since.items() if since > now - 60}
        return self._since.setdefault((place, offset), now) <= now - _DOUBT_SECONDS


class Quarantine:
    """For one flush's transaction; what is put aside comes back as dead letters by slot."""

    def __init__(self, database: Database, slices: Sequence[LogSlice], doubts: Doubts) -> None:
        self._database = database
        self._slices = slices
        self._doubts = doubts

    def out_of_place(self, events: EventTable, dead: Dead, sessions: Sessions) -> Dead:
        """Those of ``events`` that are; DoubtError where it is too early to tell."""
        suspects = {
            (rows.slot, rows.host_id)
            for rows in events.streams()
            if rows.rows != rows.stop - rows.first
            or rows.first != sessions[rows.host_id, rows.session].seen_stop
        }
        if not suspects:
            return []
        takers: dict[tuple[int, bytes | None], list[Position]] = defaultdict(list)
        for slot, letter in dead:
            takers[slot, letter.key].append(Position(letter.offset))
        aside, doubtful = Dead(), dict[Place, int]()
        for slot, host in sorted(suspects):
            found = [Position(*row) for row in events.of_host(slot, host)]
            named = {each.session for each in found if each.session is not None}
            reached = {
                session: sessions[host, session].seen_stop
                for session in named
                if sessions[host, session].known
            }
            messages = sorted([*found, *takers[slot, host.encode()]], key=lambda each: each.offset)
            verdict = judge(messages, reached)
            by_offset = {each.offset: each for each in found}
            for offset in sorted(verdict.open):
                if not self._doubts.over(self._slices[slot].place, offset):
                    place = self._slices[slot].place
                    doubtful[place] = min(offset, doubtful.get(place, offset))
                elif not self._plausible(host, by_offset[offset]):
                    verdict.wrong.add(offset)
            for offset in sorted(verdict.wrong):
                at = by_offset[offset]
                detail = f"seq {at.seq} of session {at.session} cannot stand here: all go on without it"
                aside.append((slot, letter_of(self._slices[slot], offset, None, Reason.OUT_OF_PLACE, detail)))
        if doubtful:
            raise DoubtError(doubtful)
        return aside

    def conflicts(self, repeated: EventTable, fresh: EventTable, expire_before: datetime) -> Dead:
        """Those of ``repeated``, whose identity is settled, that are other events than what settled it."""
        if not len(repeated):
            return []
        left, _ = repeated.without_same(fresh).split_expired(expire_before)
        rows = left.moments()
        if not rows:
            return []
        _, _, hosts, sessions, seqs, times, boot_times = zip(*rows, strict=True)
        same = self._database.rows(
            statement("settled_events"),
            {
                "numbers": list(range(len(rows))),
                "hosts": list(hosts),
                "sessions": list(sessions),
                "seqs": list(seqs),
                "times": list(times),
                "boot_times": list(boot_times),
            },
        )
        known = {number for (number,) in same}
        aside = Dead()
        for number, (slot, offset, host, session, seq, *_) in enumerate(rows):
            if number not in known:
                detail = f"another event is seq {seq} of session {session} of {host}"
                letter = letter_of(self._slices[slot], offset, None, Reason.IDENTITY_CONFLICT, detail)
                aside.append((slot, letter))
        if aside:
            _log.error(
                "two producers send as one host: %s, and %d events in all; is a machine cloned, with its "
                "machine id? Give each its own --host-id; the events are in dead_letters",
                aside[0][1].detail, len(aside),
            )  # fmt: skip
        return aside

    def _plausible(self, host: str, at: Position) -> bool:
        """Whether a capture report knows of an event of that number."""
        found = self._database.rows(statement("announced"), {"hosts": [host], "sessions": [at.session]})
        return any(at.seq is not None and at.seq < emitted for _, _, emitted in found)
