"""Owning partitions: the epoch fence that makes two workers on one partition harmless."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from fsmon_schemas import FatalError, FsmonError

from fsmon_consumer.place import Place
from fsmon_consumer.store import Database, TransactionConflictError, as_text, statement

_log = logging.getLogger(__name__)
BY_HAND = (
    "Check the cluster; to go on, set next_offset of this partition in table offsets by hand, and "
    "leader_epoch to NULL: too low an offset is safe, what was stored before is recognised"
)


class StuckError(FsmonError):
    """The partition cannot go on before a person has looked; the others can."""


@dataclass(frozen=True)
class LogBounds:
    """What the broker says of a partition: its topic's id, first offset, and the next to be written.

    ``leader_epoch`` counts the partition's leaders; in one topic's life it only grows (KIP-101).
    """

    topic_id: str
    start: int
    end: int
    leader_epoch: int | None = None


@dataclass(frozen=True)
class Claim:
    """Our right to write a partition, as long as the database still holds this epoch.

    ``leader_epoch`` is that of the newest message stored; None where there is none.
    """

    topic_id: str
    epoch: int
    next_offset: int
    leader_epoch: int | None = field(default=None, compare=False)


def database_id(database: Database) -> str:
    """What tells this database from others that the same group might fill."""
    [(found,)] = database.rows("SELECT database_id::text FROM installation")
    return str(found)


def adopt(database: Database, *, group: str, cluster_id: str) -> None:
    """Bind this database to one group of one cluster, at the first call.

    FatalError where it already belongs to another: its offsets would mean other messages.
    """
    [(its_group, its_cluster)] = database.rows(
        statement("adopt_installation"), {"group_id": group, "cluster_id": cluster_id}
    )
    if its_group != group:
        raise FatalError(
            f"this database belongs to the consumer group {its_group!r}, not {group!r}: "
            "every event would be stored twice; use that group, or another database"
        )
    if its_cluster != cluster_id:
        raise FatalError(
            f"this database holds offsets of Kafka cluster {its_cluster}, the brokers are of {cluster_id}; "
            "check --bootstrap-servers, or use another database"
        )


def require_ours(group: str, database_id: str, marks: Mapping[Place, str]) -> None:
    """FatalError where the group fills another database; ``marks``: the ids in its committed offsets.

    Of two that began at once, the one that has marked the first partition fills all: both decide alike.
    """
    place = min(marks, default=None)
    if place is not None and marks[place] != database_id:
        raise FatalError(
            f"the consumer group {group!r} is filling another database (id {marks[place]}, on "
            f"{place[0]}[{place[1]}]): each would get a part of the events; give this database "
            "a group of its own with --group, and make it anew first if it was filled by this one"
        )


def pause(database: Database, place: Place, why: str) -> None:
    """Leave word, for `audit` and whoever looks, that the partition waits for a person; a claim ends it."""
    database.rows(
        "UPDATE offsets SET paused = %s WHERE topic = %s AND partition = %s",
        [as_text(why), *place],
    )


def claim(
    database: Database, place: Place, log: LogBounds, *, worker: str, takeover_after: timedelta
) -> Claim:
    """Take the partition ``place``, fencing off whoever had it.

    The first claim ever starts at the log's beginning.

    Where its row stays locked for ``takeover_after`` the owner hangs (a backend waiting in COPY
    obeys no timeout and no cancel), and its backend is terminated. StuckError where the log is
    not the one that the stored offset was read from.
    """
    topic, partition = place
    deadline = time.monotonic() + takeover_after.total_seconds()
    parameters = {
        "topic": topic,
        "partition": partition,
        "topic_id": log.topic_id,
        "log_start": log.start,
        "worker": worker,
    }
    while True:
        try:
            with database.transaction():
                database.rows("SET LOCAL lock_timeout = '1s'")
                [(epoch, next_offset, topic_id, leader_epoch)] = database.rows(statement("claim"), parameters)
                start, skipped = _where_to_start(place, log, next_offset, topic_id, leader_epoch)
                if start != next_offset or topic_id != log.topic_id:
                    database.rows(
                        statement("rewind_claim"),
                        parameters | {"next_offset": start, "skipped": skipped},
                    )
        except TransactionConflictError:
            if time.monotonic() < deadline:
                continue
            for _, owner in database.rows(statement("terminate_owner"), parameters):
                _log.warning(
                    "%s[%d]: ended the database session of %s, which held the partition and did not let go",
                    topic, partition, owner,
                )  # fmt: skip
            deadline = time.monotonic() + takeover_after.total_seconds()
        else:
            return Claim(log.topic_id, epoch, start, leader_epoch if topic_id == log.topic_id else None)


def _where_to_start(
    place: Place, log: LogBounds, next_offset: int, topic_id: str, leader_epoch: int | None
) -> tuple[int, int]:
    """(offset to go on at, messages skipped because the log no longer has them)."""
    topic, partition = place
    if topic_id != log.topic_id:
        _log.warning(
            "%s[%d]: the topic was deleted and made anew; starting at its beginning", topic, partition
        )
        return log.start, 0
    if log.leader_epoch is not None and leader_epoch is not None and log.leader_epoch < leader_epoch:
        raise StuckError(
            f"messages of leader epoch {leader_epoch} were stored, and the partition's leader is of epoch "
            f"{log.leader_epoch}: the cluster was put back to an earlier state, and its offsets mean other "
            f"messages now. {BY_HAND}"
        )
    if next_offset < log.start:
        _log.error(
            "%s[%d]: %d messages were deleted by Kafka's retention before they were read; they are lost. "
            "Raise the topic's retention.ms, or run more consumers",
            topic, partition, log.start - next_offset,
        )  # fmt: skip
        return log.start, log.start - next_offset
    if next_offset > log.end:
        raise StuckError(
            f"stored up to offset {next_offset}, but the log ends at {log.end}: the broker has lost messages "
            f"(restored from a backup, or unclean leader election). {BY_HAND}"
        )
    return next_offset, 0
