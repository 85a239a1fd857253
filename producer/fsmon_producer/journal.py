"""One log, ring then spool: what was captured and is not acknowledged, in the order of seq.

Most of the time it is the ring alone, and no disk is touched. When the ring fills and the broker does not
take it, its older part moves to the spool; what the spool holds is sent first then, and the ring behind it.
"""

import logging

from fsmon_producer.capture import Captured
from fsmon_producer.dropped import Span
from fsmon_producer.identity import Session
from fsmon_producer.record import CURRENT, EventCodec
from fsmon_producer.ring import Cursor, Ring
from fsmon_producer.spool import Spool, SpoolFullError
from fsmon_producer.stamp import Stamp, StampCounts

_log = logging.getLogger(__name__)
_MOVED_AT_ONCE = 5000  # records, and one sync of the disk
_NO_LIMIT = 1 << 29  # the topic's is seen to when it is sent


class Journal:
    """Owns the ring's cursor: it is stored durably before the ring's consumer position moves."""

    def __init__(
        self,
        capture: Captured,
        ring: Ring,
        spool: Spool | None,
        session: Session,
        codec: EventCodec = CURRENT,
    ) -> None:
        """``codec`` is of the schema of the session's events."""
        self._capture = capture
        self._ring = ring
        self._spool = spool
        self._session = session
        self._codec = codec
        self._stamp = self.stamp(b"", _NO_LIMIT, StampCounts())
        self._released = ring.cursor
        self._full = ""
        self.goal: int | None = None  # position in the ring behind which nothing is read any more
        if spool is not None and not spool.empty:
            self._skip_what_is_in_both(spool)

    def _skip_what_is_in_both(self, spool: Spool) -> None:
        """The spool is synced before the cursor moves: who is killed in between leaves records in both."""
        spool.rewind(spool.first)
        while (missing := spool.end - self._ring.cursor.seq) > 0 and self._ring.behind:
            self._release_ring(self._ring.read(min(missing, _MOVED_AT_ONCE), _NO_LIMIT).end)
        if missing < 0:
            _log.error(
                "%s lacks seq %d to %d, which were in it: its files were removed or damaged, and the audit "
                "shows these events as unaccounted",
                spool.directory,
                spool.end,
                self._ring.cursor.seq - 1,
            )

    @property
    def start(self) -> Cursor:
        """Everything before it is acknowledged; its position counts only where the spool is empty."""
        spool = self._spool
        return self._released if spool is None or spool.empty else Cursor(0, spool.first)

    @property
    def next_seq(self) -> int:
        """How many records were read from the ring."""
        return self._ring.cursor.seq

    @property
    def ring_used(self) -> int:
        """Bytes of the ring that the kernel cannot write over."""
        return self._ring.end - self._released.position

    @property
    def unacknowledged(self) -> int:
        """Bytes of the ring that were read and not released."""
        return self._ring.cursor.position - self._released.position

    @property
    def spooled(self) -> int:
        """Bytes in the spool."""
        return self._spool.size if self._spool is not None else 0

    @property
    def dropped(self) -> list[Span]:
        """Seqs that a full spool gave up."""
        return self._spool.dropped.spans if self._spool is not None else []

    @property
    def filling(self) -> bool:
        """Whether the ring is more than half full."""
        return self.ring_used > self._capture.ring_bytes // 2

    @property
    def full(self) -> str:
        """Why the spool takes no more; empty if it does."""
        return self._full

    @property
    def takes(self) -> bool:
        """Whether there is a spool."""
        return self._spool is not None

    @property
    def from_spool(self) -> bool:
        """Whether what is sent comes from the spool."""
        return self._spool is not None and not self._spool.empty

    @property
    def drained(self) -> bool:
        """Whether everything, up to the goal if there is one, is acknowledged."""
        if self.from_spool or self._released != self._ring.cursor:
            return False
        return not self._ring.behind if self.goal is None else self._released.position >= self.goal

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done until the kernel writes its next record."""
        return not self.from_spool and self._released == self._ring.cursor and self.goal is None

    def stamp(self, frame: bytes, limit: int, counts: StampCounts) -> Stamp:
        """What makes messages of the session's records."""
        return Stamp(frame, self._session.host_id, self._session.id, limit, counts, codec=self._codec)

    def read(self, stamp: Stamp, frame: bytes, most: int) -> tuple[list[bytes], Cursor] | None:
        """The next messages, at most that many, and where they end; None where there are none."""
        if self._spool is not None and not self._spool.empty:
            if not self._spool.unread:
                return None
            first, bodies = self._spool.read(most)
            return stamp.framed(first, bodies, frame), Cursor(0, first + len(bodies))
        if self.goal is not None and self._ring.cursor.position >= self.goal:
            return None
        batch = self._ring.read(most, stamp.longest)
        return (stamp.messages(batch), batch.end) if batch.end != batch.start else None

    def acknowledge(self, cursor: Cursor) -> bool:
        """Release what lies before a cursor that ``read`` gave; whether that was anything."""
        if self._spool is not None and not self._spool.empty:
            before = self._spool.first
            self._spool.release(cursor.seq)
            return self._spool.empty or self._spool.first != before
        if (cursor.seq, cursor.position) <= (self._released.seq, self._released.position):
            return False
        self._release_ring(cursor)
        return True

    def rewind(self, acknowledged: Cursor) -> None:
        """Read again what is not acknowledged."""
        self.acknowledge(acknowledged)
        if self._spool is not None and not self._spool.empty:
            self._spool.rewind(max(acknowledged.seq, self._spool.first))
        else:
            self._ring.rewind(self._released)

    def relieve(self, room: float = 0.75) -> bool:
        """Move the ring's older part to the spool until that share of the ring is free; False if it cannot.

        Nothing that was read from the ring may be under way: it would be sent again.
        """
        if self._spool is None:
            return False
        self._ring.rewind(self._released)
        while self.ring_used > (1 - room) * self._capture.ring_bytes:
            batch = self._ring.read(_MOVED_AT_ONCE, _NO_LIMIT)
            if batch.end == batch.start:
                return False  # the kernel is still writing the record at our position
            try:
                if batch.bodies:
                    self._spool.append(batch.start.seq, self._stamp.messages(batch))
            except SpoolFullError as error:
                self._ring.rewind(batch.start)
                if not self._full:
                    _log.error("%s: from now on the ring fills, and then events are lost and counted", error)
                self._full = str(error)
                return False
            self._release_ring(batch.end)
        if self._full:
            _log.warning("the spool has room again")
        self._full = ""
        return True

    def keep(self) -> bool:
        """Leave everything to the spool; False where that cannot be."""
        return self._spool is not None and self.relieve(1.0) and not self._spool.empty

    def keep_report(self, report: bytes) -> bool:
        """Leave the session's last report to it; False where that cannot be."""
        if self._spool is None:
            return False
        try:
            self._spool.keep_report(report)
        except OSError as error:
            _log.error("the last report cannot be kept: %s", error)
            return False
        return True

    def _release_ring(self, cursor: Cursor) -> None:
        self._capture.write_cursor(cursor.position, cursor.seq)
        self._ring.release(cursor)
        self._released = cursor

    def wait(self, seconds: float) -> bool:
        """Sleep until the kernel writes; False, at once, while it is writing a record already."""
        if self._ring.behind:
            return False
        self._ring.wait(seconds)
        return True

    def stop_here(self) -> None:
        """Make what is in the ring now the goal."""
        self.goal = self._ring.end
