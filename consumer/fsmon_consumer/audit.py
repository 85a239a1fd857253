"""The account of every session: what was captured against what is stored, and where the rest is.

The arithmetic, of one session:

    captured    = events the kernel put into the ring: the newest report's `emitted`, or more if
                  later events have arrived since
    horizon     = the seq below which everything must be settled: the highest settled seq + 1; once
                  the consumer has passed the offset of an acknowledged event, at least the acked_seq
                  reported with it; and all of it, once the session has ended
    dropped     = seqs that the producer's full spool gave up and declared, and that are not settled:
                  lost at stage `spool`
    unaccounted = seqs below the horizon that are not settled (settled: stored, dead, expired) or dropped
    in flight   = captured - horizon, without what of it is dropped

so captured = stored + dead + expired + dropped + unaccounted + in flight. What was lost at other stages
was never put into the ring and stands beside it. Without a report `captured` is not known, and unaccounted
is then not known either: it is never shown as 0.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fsmon_consumer.ledger import Ranges
from fsmon_consumer.place import Place
from fsmon_consumer.report_ledger import CLONED
from fsmon_consumer.store import Database, statement

_SETTLE_PAUSE_SECONDS = 0.25
_SILENT = timedelta(minutes=10)  # many times --report-interval
SPOOL = "spool"  # the stage at which events are lost that had been captured


@dataclass(frozen=True)
class Report:
    """What the audit needs of a session's newest CaptureReport."""

    state: str
    end_reason: str | None
    time: datetime
    boot_id: str
    emitted: int
    acked_seq: int
    acked_partition: int | None
    acked_offset: int | None
    lost: Mapping[str, int]
    uncovered: Mapping[str, int]
    operations: Sequence[Mapping[str, Any]] = ()
    dropped: str = "{}"  # an int8multirange
    placed_seq: int = 0  # every seq below it lies up to acked_offset
    boot_time: int = 0
    first_boot_time: int = 0  # that of the session's first report
    beside: int = 0  # how often another boot reported between two of these

    def fell_silent(self, successor: "Report | None") -> bool:
        """Whether the host's next session has reported for long since this one did."""
        return successor is not None and successor.time - self.time > _SILENT

    def outlives(self, successor: "Report") -> bool:
        """Whether it is of the same boot as the host's next session and was made after that one's first."""
        return self.boot_id == successor.boot_id and self.boot_time > successor.first_boot_time

    @property
    def lost_by_operation(self) -> dict[str, dict[str, int]]:
        """Of each stage, the events lost there by operation; a report of an older producer has none."""
        found: dict[str, dict[str, int]] = {}
        for operation in self.operations:
            for stage, events in operation.get("lost_by_stage", {}).items():
                found.setdefault(stage, {})[operation["op"]] = events
        return found


@dataclass(frozen=True)
class Session:
    """One session's account; None stands for what cannot be known. ``holes``, ``dropped``: ranges of seqs."""

    host_id: str
    session: int
    state: str
    captured: int | None
    stored: int
    duplicates: int
    dead: int
    expired: int
    in_flight: int
    unaccounted: int | None
    lost: Mapping[str, int]
    uncovered: Mapping[str, int]
    holes: tuple[tuple[int, int], ...] = ()
    note: str = ""
    lost_by_operation: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # stage -> op -> events
    dropped: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Audit:
    """The account of a database."""

    sessions: list[Session]
    unattributed: Mapping[str, int]  # dead letters that are no known event, by message key
    skipped: Mapping[str, int]  # messages that Kafka's retention deleted unread, by topic[partition]
    paused: Mapping[str, str] = field(default_factory=dict)  # topic[partition] -> why it waits for a person
    behind: int | None = field(default=None)  # messages in Kafka not yet read; None if Kafka was not asked

    @property
    def in_flight(self) -> int:
        """Events known to be captured that may still arrive."""
        return sum(each.in_flight for each in self.sessions)

    @property
    def complete(self) -> bool:
        """Whether nothing is unaccounted, and everything could be told."""
        return all(each.unaccounted == 0 for each in self.sessions)

    @property
    def settled(self) -> bool:
        """Whether waiting can change nothing."""
        return self.in_flight == 0 and not self.behind

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "complete": self.complete,
            "settled": self.settled,
            "in_flight": self.in_flight,
            "behind": self.behind,
            "unattributed_dead_letters": dict(self.unattributed),
            "skipped_by_retention": dict(self.skipped),
            "paused_partitions": dict(self.paused),
            "sessions": [asdict(each) for each in self.sessions],
        }


def account(
    identity: tuple[str, int],
    report: Report | None,
    seen: Ranges,
    counts: tuple[int, int, int, int],
    *,
    next_offset: int | None,
    successor: Report | None,
) -> Session:
    """One session's account.

    ``counts`` is (stored, duplicates, dead, expired); ``next_offset`` where the consumer goes on in
    the partition that the report names; ``successor`` the report of the host's next session.
    """
    stored, duplicates, dead, expired = counts
    if report is None:
        return Session(
            *identity, "no report", None, stored, duplicates, dead, expired, 0, None, {}, {},
            (_below(seen.stop) - seen).spans, "no capture report: how many events there were is not known",
        )  # fmt: skip
    captured = max(report.emitted, seen.stop)
    # Events acknowledged but at no known place count as under way: the reader may not be there yet.
    passed = 0
    if report.acked_offset is not None and next_offset is not None and next_offset > report.acked_offset:
        passed = report.placed_seq
    ended = report.state == "ended" and passed >= report.acked_seq
    horizon = captured if ended else max(seen.stop, passed)
    dropped = (Ranges.parse(report.dropped) & _below(captured)) - seen
    holes = _below(horizon) - seen - dropped
    in_flight = len(_below(captured) - _below(horizon) - dropped)
    unaccounted: int | None = len(holes)
    lost = {**report.lost, SPOOL: len(dropped)} if dropped.spans else report.lost
    note = report.end_reason or ""
    silent = report.state != "ended" and report.fell_silent(successor)
    if report.beside >= CLONED and not silent:
        note = (
            f"another machine runs as this host at the same time as this one, of boot {report.boot_id}; "
            "are they clones? Give each its own --host-id"
        )
    elif report.state != "ended" and successor is not None and not silent and report.outlives(successor):
        note = "another producer of this machine, of another --state-dir, runs at the same time"
    elif report.state != "ended" and successor is not None:
        cause = "the host restarted" if successor.boot_id != report.boot_id else "the producer was replaced"
        note = f"{cause} without a last report: the tail since {report.time:%Y-%m-%d %H:%M:%S}Z is unknown"
        unaccounted = None
    return Session(
        *identity, report.state, captured, stored, duplicates, dead, expired, in_flight, unaccounted,
        lost, report.uncovered, holes.spans, note, report.lost_by_operation, dropped.spans,
    )  # fmt: skip


def _below(seq: int) -> Ranges:
    return Ranges.of([(0, seq)])


def audit(
    database: Database, topic: str, *, behind: Callable[[Mapping[Place, int]], int] | None = None
) -> Audit:
    """The account as of now, from one snapshot.

    ``behind`` tells from the stored offsets how many messages Kafka still holds for us.
    """
    with database.transaction():
        database.rows("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        sessions = database.rows(statement("audit_sessions"))
        offsets = database.rows(statement("audit_offsets"))
        unattributed = database.rows(statement("audit_unattributed"), {"topic": topic})
    next_offsets: dict[Place, int] = {(name, partition): offset for name, partition, offset, *_ in offsets}
    read = []
    for host_id, session, *fields in sessions:
        report = Report(*fields[:16]) if fields[0] is not None else None
        read.append(((host_id, session), report, Ranges.parse(fields[16]), tuple(fields[17:])))
    accounts = []
    for index, (identity, report, seen, counts) in enumerate(read):
        place = (topic, report.acked_partition if report and report.acked_partition is not None else -1)
        following = (other for (host, _), other, _, _ in read[index + 1 :] if host == identity[0] and other)
        accounts.append(
            account(
                identity,
                report,
                seen,
                counts,
                next_offset=next_offsets.get(place),
                successor=next(following, None),
            )
        )
    return Audit(
        accounts,
        dict(unattributed),
        {f"{name}[{partition}]": skipped for name, partition, _, skipped, _ in offsets if skipped},
        {f"{name}[{partition}]": why for name, partition, _, _, why in offsets if why},
        behind(next_offsets) if behind else None,
    )


def has_read(database: Database, topics: Iterable[str]) -> bool:
    """Whether every one of ``topics`` has been read from, at least from its beginning."""
    return {topic for topic, *_ in database.rows(statement("audit_offsets"))} >= set(topics)


def settle(
    database: Database, topic: str, seconds: float, behind: Callable[[Mapping[Place, int]], int]
) -> Audit:
    """Audit again and again until nothing is under way, at most ``seconds`` long."""
    deadline = time.monotonic() + seconds
    while True:
        found = audit(database, topic, behind=behind)
        if found.settled or time.monotonic() >= deadline:
            return found
        time.sleep(_SETTLE_PAUSE_SECONDS)
