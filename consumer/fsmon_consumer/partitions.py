"""The hourly partitions of file_events: made ahead, made on demand, retired.

A new partition is made beside the table and attached, which takes SHARE UPDATE EXCLUSIVE on
file_events and disturbs neither readers nor writers (``PARTITION OF`` takes ACCESS EXCLUSIVE).
It is empty, so ATTACH has nothing to check. All changes hold one advisory lock. The role of a
worker may add partitions and need not own them; retiring takes the owner.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fsmon_consumer.store import Database, TransactionConflictError, statement

_log = logging.getLogger(__name__)
_LOCK = 0x66736D6F_6E000002  # pg_advisory_lock key: "fsmon", 2
_PREFIX = "file_events_"
HOUR = timedelta(hours=1)
_AGAIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Partition:
    """One attached hour: rows and bytes as PostgreSQL estimates them; ``detaching`` if half detached."""

    start: datetime
    rows: int
    size: int
    detaching: bool

    @property
    def name(self) -> str:
        """The table's name."""
        return table_name(self.start)


def hour_of(moment: datetime) -> datetime:
    """The start of the UTC hour that holds ``moment``."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def table_name(start: datetime) -> str:
    """Name of the partition for the hour that begins at ``start``."""
    return f"{_PREFIX}{start.astimezone(UTC):%Y%m%d%H}"


def list_partitions(database: Database) -> list[Partition]:
    """All partitions, oldest first."""
    return [
        Partition(
            datetime.strptime(name.removeprefix(_PREFIX) + "+0000", "%Y%m%d%H%z"), rows, size, detaching
        )
        for name, rows, size, detaching in database.rows(statement("list_partitions"))
    ]


def create(database: Database, hours: Iterable[datetime]) -> list[datetime]:
    """Make the partitions of these hours that are not there; returns the hours made."""
    wanted = sorted({hour_of(hour) for hour in hours})
    with _maintenance(database):
        found = list_partitions(database)
        there = {each.start for each in found if not each.detaching}
        missing = [hour for hour in wanted if hour not in there]
        for each in found:
            if each.detaching and each.start in missing:
                if not _owns(database):
                    raise TransactionConflictError(
                        f"{each.name} is half detached: its owner has to finish it"
                    )
                _remove(database, each)
        for hour in missing:
            with database.transaction():
                database.rows("SET LOCAL lock_timeout = '2s'")
                database.rows("SELECT add_partition(%s)", [hour])
    if missing:
        _log.info(
            "made %d partitions, %s to %s", len(missing), table_name(missing[0]), table_name(missing[-1])
        )
    return missing


def retire(database: Database, before: datetime) -> list[Partition]:
    """Drop the partitions that end at or before ``before``; returns them. FatalError for who owns them not.

    The maintenance lock is held for one at a time. One that a query still reads is waited for a second
    and then left half detached (new queries do not see it), and TransactionConflictError says so. That one
    comes first the next time, for until it is finished PostgreSQL detaches no other.
    """
    retired: list[Partition] = []
    while True:
        with _maintenance(database):
            past = [
                each for each in list_partitions(database) if each.detaching or each.start + HOUR <= before
            ]
            if not past:
                return retired
            each = next((each for each in past if each.detaching), past[0])
            _remove(database, each)
        retired.append(each)
        _log.info("retired partition %s (about %d rows)", each.name, each.rows)


def _remove(database: Database, partition: Partition) -> None:
    """Detach and drop, blocking nobody: CONCURRENTLY waits for those who read it, and we for a second.

    One that was cancelled half-way blocks every other, so it is finalised. Neither goes in a transaction.
    """
    how = "FINALIZE" if partition.detaching else "CONCURRENTLY"
    database.rows("SET lock_timeout = '1s'")
    try:
        database.rows(f"ALTER TABLE file_events DETACH PARTITION {partition.name} {how}")
        database.rows(f"DROP TABLE {partition.name}")
    except TransactionConflictError as error:
        raise TransactionConflictError(
            f"partition {partition.name} is still read by a query, or another table is half detached; it is "
            f"dropped later ({error})"
        ) from error
    finally:
        database.rows("RESET lock_timeout")


def create_ahead(database: Database, ahead: int) -> list[datetime]:
    """Make the partitions of the last, this and the ``ahead`` coming hours."""
    return create(database, _coming(hour_of(datetime.now(UTC)), ahead))


def retire_past(database: Database, retention: timedelta) -> list[Partition]:
    """Drop the partitions that ended more than ``retention`` ago."""
    return retire(database, datetime.now(UTC) - retention)


def _owns(database: Database) -> bool:
    [(owns,)] = database.rows(
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'file_events'::regclass"
    )
    return bool(owns)


def _coming(hour: datetime, ahead: int) -> list[datetime]:
    return [hour + HOUR * step for step in range(-1, ahead + 1)]


class PartitionPlan:
    """Knows which hours have their partition, so that a flush asks the database only for new ones."""

    def __init__(self, *, ahead: int, retention: timedelta) -> None:
        self._ahead = ahead
        self._retention = retention
        self._there: set[datetime] = set()
        self._planned: datetime | None = None
        self._again: datetime | None = None

    def forget(self) -> None:
        """Nothing is known any more: another worker may have retired a partition."""
        self._there.clear()
        self._planned = None

    def ensure(self, database: Database, hours: Iterable[datetime]) -> None:
        """Make sure that events of these hours can be stored."""
        missing = [hour for hour in hours if hour not in self._there]
        if missing:
            create(database, missing)
            self._there.update(missing)

    def maintain(self, database: Database, now: datetime) -> None:
        """Once an hour: make the coming partitions and retire those past retention.

        Does not wait for others: what they hold up is tried again a minute later.
        """
        hour = hour_of(now)
        if self._planned == hour or (self._again is not None and now < self._again):
            return
        try:
            self.ensure(database, _coming(hour, self._ahead))
            if _owns(database):
                retire(database, now - self._retention)
            elif self._planned is None:
                _log.warning(
                    "this role does not own file_events, so no partition is retired here: let a timer run "
                    "`fsmon-consumer partitions retire` as the role that migrated"
                )
        except TransactionConflictError as error:
            _log.info("partitions: %s", error)
            self._again = now + _AGAIN
        else:
            self._planned, self._again = hour, None


@contextmanager
def _maintenance(database: Database) -> Iterator[None]:
    """Hold the maintenance lock for the block; TransactionConflictError if another keeps it for 10 s."""
    with database.transaction():
        database.rows("SET LOCAL lock_timeout = '10s'")
        try:
            database.rows("SELECT pg_advisory_lock(%s)", [_LOCK])
        except TransactionConflictError as error:
            raise TransactionConflictError(f"another session is changing partitions: {error}") from error
    try:
        yield
    finally:
        database.rows("SELECT pg_advisory_unlock(%s)", [_LOCK])
