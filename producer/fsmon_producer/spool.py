"""What the ring cannot hold while the broker is away: events of one session on disk, first in first out.

A directory of segments, bounded in bytes. When ``append`` returns its events are synced: only then may the
ring be released. Acknowledged events go by whole segments; after a restart the rest of one is sent again.
At its bound it takes no more, or gives its oldest segment up for the newest events (dropped.py).
"""

import errno
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from fsmon_schemas.errors import FatalError, FsmonError
from fsmon_schemas.schema import Schema

from fsmon_producer import last_report
from fsmon_producer.dropped import Dropped
from fsmon_producer.pins import Identity
from fsmon_producer.segment import Segment, name_of
from fsmon_producer.state import must_be_ours

_log = logging.getLogger(__name__)
_SEGMENT_BYTES = 16 << 20
_FRAME_BYTES = 20  # at most, around a record: a block's count and length, and its marker
_NAME = re.compile(r"\d{20}\.avro")
_SHARE = 8  # of the bound: a segment, where the oldest is given up
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (*_NO_ROOM, errno.EFBIG, errno.EIO, errno.EROFS)


class SpoolFullError(FsmonError):
    """Nothing more goes in: the bound is reached, or the disk refuses; ``room`` if less in it would help."""

    def __init__(self, why: str, *, room: bool) -> None:
        super().__init__(why)
        self.room = room


class Spool:
    """One session's. Not thread-safe."""

    def __init__(
        self,
        directory: Path,
        session: int,
        limit: int,
        identity: Callable[[], Identity] | None = None,
        *,
        drop_oldest: bool = False,
        others: Callable[[], int] = lambda: 0,
    ) -> None:
        """``limit`` in bytes, of which ``others`` says how many are taken already.

        Without ``identity`` it can be read only.

        ConfigError where the directory is not ours alone, FatalError where something in it is no file.
        """
        self.directory = directory
        self._limit = limit
        self._identity = identity
        self._drop_oldest = drop_oldest
        self._others = others
        self._segment_bytes = min(_SEGMENT_BYTES, limit // _SHARE) if drop_oldest else _SEGMENT_BYTES
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        must_be_ours(directory)
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._segments: list[Segment] = []
        names = os.listdir(self._fd)  # noqa: PTH208 - of the descriptor, whatever the name stands for now
        try:
            self.dropped = Dropped(self._fd, names)
        except OSError as error:
            raise FatalError(f"{directory}: a *.dropped is none of ours, remove it: {error}") from error
        for name in sorted(name for name in names if _NAME.fullmatch(name)):
            self._open(name, session)
        self._acknowledged = 0
        self._reading, self._position, self._next = 0, 0, self.first

    def _open(self, name: str, session: int) -> None:
        path = self.directory / name
        try:
            segment = Segment(self._fd, int(name[:20]))
        except OSError as error:
            raise FatalError(f"{path}: {error.strerror}; it is none of ours, remove it") from error
        if cut := segment.recover(session):
            _log.error(
                "%s is torn or damaged behind seq %d: %d bytes are cut off", path, segment.end - 1, cut
            )
        if segment.end == segment.first:
            segment.remove()
            return
        if self._segments and segment.first != self.end:
            _log.error(
                "%s lacks seq %d to %d, and the audit shows them as unaccounted",
                self.directory,
                self.end,
                segment.first - 1,
            )
        self._segments.append(segment)

    @property
    def empty(self) -> bool:
        """Whether everything that was in it is acknowledged."""
        return not self._segments

    @property
    def first(self) -> int:
        """The oldest seq in it; 0 where it is empty."""
        return self._segments[0].first if self._segments else 0

    @property
    def end(self) -> int:
        """The seq that follows the newest in it."""
        return self._segments[-1].end if self._segments else 0

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(segment.size for segment in self._segments)

    @property
    def unread(self) -> int:
        """Events that ``read`` has not given yet."""
        return self.end - self._next

    @property
    def identity(self) -> Identity | None:
        """Whose events these are, or whose report; None where it has neither.

        FatalError where it cannot be read.
        """
        if not self._segments:
            kept = last_report.kept(self._fd)
            return kept[0] if kept else None
        try:
            return Identity.of_json(self._segments[-1].metadata)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FatalError(f"{self.directory}: whose events these are cannot be read ({error})") from error

    def append(self, first: int, bodies: list[bytes]) -> None:
        """Take the stamped bodies of seqs from ``first`` on, and return when they are on the disk.

        SpoolFullError leaves it as it was.
        """
        if self._segments and first < self.end:
            raise AssertionError(f"seq {first} after {self.end}: the spool would have it twice")
        while True:
            try:
                self._write(first, bodies)
            except SpoolFullError as error:
                if not (self._drop_oldest and error.room and self._segments):
                    raise
                self._give_up_oldest()
            else:
                return

    def _write(self, first: int, bodies: list[bytes]) -> None:
        assert self._identity is not None
        needed = sum(map(len, bodies)) + _FRAME_BYTES * len(bodies) + self._others()
        if self.size + needed > self._limit:
            raise SpoolFullError(
                f"the spool has reached its {self._limit >> 10} KiB", room=needed <= self._limit
            )
        try:
            if not self._segments:
                self._reading, self._position, self._next = 0, 0, first
            if not self._segments or first != self.end or self._segments[-1].size > self._segment_bytes:
                identity = self._identity()
                schema = Schema(identity.schema).parsed
                self._segments.append(Segment.create(self._fd, first, schema, identity.as_json()))
            self._segments[-1].append(bodies)
        except OSError as error:
            self._drop_empty()
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> OSError | SpoolFullError:
        """What a disk says is either that it is full, or none of our business."""
        if error.errno not in _REFUSED:
            return error
        why = f"the disk takes no more of the spool: {error.strerror}"
        return SpoolFullError(why, room=error.errno in _NO_ROOM)

    def _give_up_oldest(self) -> None:
        """Declare what is not acknowledged of the oldest segment, and remove it."""
        segment = self._segments[0]
        first = max(segment.first, self._acknowledged)
        try:
            self.dropped.take(name_of(segment.first), (first, segment.end))
        except OSError as error:
            raise self._refused(error) from error
        segment.close()
        self._forget_first()
        _log.error(
            "the spool is full: its oldest events, seq %d to %d, are dropped and declared lost",
            first,
            segment.end - 1,
        )

    def _forget_first(self) -> None:
        self._segments.pop(0)
        self._reading -= 1
        if self._reading < 0:  # the one that was read from
            self._reading, self._position, self._next = 0, 0, self.first

    def _drop_empty(self) -> None:
        if self._segments and self._segments[-1].end == self._segments[-1].first:
            self._segments.pop().remove()

    def read(self, most: int) -> tuple[int, list[bytes]]:
        """The next events, at most that many, and the seq of the first."""
        segment = self._segments[self._reading]
        if self._next == segment.end and self._reading + 1 < len(self._segments):
            self._reading, self._position = self._reading + 1, 0
            segment = self._segments[self._reading]
            self._next = segment.first
        first = self._next
        bodies, self._position = segment.read(self._position, most)
        if not bodies and first < segment.end:
            raise FatalError(f"{self.directory}: what was in it has been changed by others; start again")
        self._next += len(bodies)
        return first, bodies

    def rewind(self, seq: int) -> None:
        """Read from ``seq`` on, or from what follows it where it lacks that."""
        self._reading = min(len(self._segments) - 1, sum(each.end <= seq for each in self._segments))
        self._position, self._next = 0, self._segments[self._reading].first
        while self._next < seq:
            self.read(seq - self._next)

    def release(self, seq: int) -> None:
        """Remove segments of which everything lies before ``seq``: it was acknowledged."""
        self._acknowledged = max(self._acknowledged, seq)
        while self._segments and self._segments[0].end <= seq:
            self._segments[0].remove()
            self._forget_first()

    def close(self) -> None:
        """Let go of the files; they stay."""
        for segment in self._segments:
            segment.close()
        self._segments = []
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Delete it, whatever is in it."""
        self.release(self.end)
        self.dropped.remove()
        last_report.remove(self._fd)
        self.close()
        try:
            self.directory.rmdir()
        except OSError as error:
            _log.warning("%s stays: %s (what is in it is none of ours)", self.directory, error.strerror)

    def keep_report(self, body: bytes) -> None:
        """Keep the session's last report, to be sent when all events are; OSError where the disk refuses."""
        assert self._identity is not None
        last_report.keep(self._fd, self._identity(), body)

    @property
    def report(self) -> bytes | None:
        """The report that was kept."""
        kept = last_report.kept(self._fd)
        return kept[1] if kept else None
