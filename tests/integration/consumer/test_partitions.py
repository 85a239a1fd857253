"""The hourly partitions on both supported versions: made, filled, read and retired, one beside the other."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from fsmon_consumer import partitions
from fsmon_consumer.store import Database, NoPartitionError, TransactionConflictError

pytestmark = [
    pytest.mark.services,
    pytest.mark.parametrize("postgres", ["18", "15"], indirect=True),
    pytest.mark.usefixtures("postgres"),
]
_VALUES = (
    "host_id, session, seq, time, boot_time, op, pid, tid, ppid, process_start, uid, gid, euid, comm, inode, "
    "device, file_type, mode, cgroup_id, mount_ns, hook, path_source, path_truncated, deleted, count, path"
)


def insert(database: Database, hour: datetime) -> None:
    """An event with a path of 4,091 characters."""
    database.rows(
        f"INSERT INTO file_events ({_VALUES}) "
        "SELECT 'h', 1, 1, %s, 1, 'open', 1, 1, 1, 1, 1, 1, 1, 'c', 1, 1, '', 1, 1, 1, '', '', false, false, "
        "1, string_agg(md5(i::text), '/') FROM generate_series(1, 124) AS i",
        [hour],
    )


def test_partitions_are_made_once_and_take_rows(opened: Database) -> None:
    now = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # the night Europe's clocks go back
    hours = [now + timedelta(hours=step) for step in range(4)]
    assert len(partitions.create(opened, hours)) == 4
    assert partitions.create(opened, hours) == []
    found = partitions.list_partitions(opened)
    assert [each.name for each in found][:2] == ["file_events_2026102500", "file_events_2026102501"]
    for hour in hours:
        insert(opened, hour)
    assert opened.rows("SELECT count(*), max(length(path)) FROM file_events") == [(4, 4091)]
    assert len(partitions.retire(opened, now + timedelta(hours=1, minutes=30))) == 2
    assert opened.rows("SELECT count(*) FROM file_events") == [(2,)]


def test_a_partition_is_made_while_others_read_and_write(opened: Database, database: str) -> None:
    now = datetime.now(UTC)
    partitions.create_ahead(opened, 1)
    with psycopg.connect(database) as reader, psycopg.connect(database) as writer:
        reader.execute("SELECT count(*) FROM file_events")
        writer.execute("LOCK TABLE file_events IN ROW EXCLUSIVE MODE")
        begun = time.monotonic()
        assert len(partitions.create(opened, [now + timedelta(days=2)])) == 1
        assert time.monotonic() - begun < 2


def test_partitions_come_and_go_while_others_read_and_write(opened: Database, database: str) -> None:
    """Two workers maintain at once, hour after hour; neither a flush nor a query notices."""
    base, steps = partitions.hour_of(datetime.now(UTC)), 30
    clock, retention = [base], timedelta(hours=2)
    over, together = threading.Event(), threading.Barrier(2)
    written: dict[datetime, int] = {}
    counts: list[int] = []
    failed: list[BaseException] = []

    def maintain(own: Database) -> None:
        plan = partitions.PartitionPlan(ahead=1, retention=retention)
        for step in range(steps):
            together.wait(30)
            clock[0] = base + step * partitions.HOUR
            plan.maintain(own, clock[0])

    def write(own: Database) -> None:
        plan = partitions.PartitionPlan(ahead=1, retention=retention)
        while not over.is_set():
            hour = clock[0]
            try:
                plan.ensure(own, [hour])
                with own.transaction():
                    insert(own, hour)
            except NoPartitionError:  # as a worker's flush does
                plan.forget()
            else:
                written[hour] = written.get(hour, 0) + 1

    def read(own: Database) -> None:
        while not over.is_set():
            with own.transaction():
                own.rows("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                [(first,)] = own.rows("SELECT count(*) FROM file_events")
                time.sleep(1.3 if len(counts) % 10 == 5 else 0.05)  # now and then past a detach's patience
                assert own.rows("SELECT count(*) FROM file_events") == [(first,)]
                counts.append(first)

    def run(what: Callable[[Database], None]) -> None:
        own = Database(database, role="test")
        own.connect()
        try:
            what(own)
        except BaseException as error:
            failed.append(error)
            together.abort()
        finally:
            own.close()

    maintainers = [threading.Thread(target=run, args=[maintain]) for _ in range(2)]
    others = [threading.Thread(target=run, args=[what]) for what in (write, read)]
    for thread in (*maintainers, *others):
        thread.start()
    for thread in maintainers:
        thread.join()
    over.set()
    for thread in others:
        thread.join()
    assert failed == []
    assert len(written) > steps / 2, written
    assert len(counts) > 10
    partitions.retire(opened, clock[0] - retention)
    left = partitions.list_partitions(opened)
    assert [each.start for each in left] == [clock[0] + step * partitions.HOUR for step in (-2, -1, 0, 1)]
    assert not any(each.detaching for each in left)
    for hour, rows in list(written.items())[-2:]:
        found = opened.rows("SELECT count(*) FROM file_events WHERE time = %s", [hour])
        assert found == [(rows,)]


def test_a_partition_that_is_still_read_is_dropped_later(opened: Database, database: str) -> None:
    """A report that runs for hours holds up neither rows nor other partitions."""
    now = datetime.now(UTC)
    partitions.create(opened, [now - timedelta(hours=step) for step in range(5)])
    plan = partitions.PartitionPlan(ahead=1, retention=timedelta(hours=2))
    with psycopg.connect(database) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM file_events")
        begun = time.monotonic()
        plan.maintain(opened, now)
        assert time.monotonic() - begun < 3
        half = [each.name for each in partitions.list_partitions(opened) if each.detaching]
        assert half == [partitions.table_name(now - timedelta(hours=4))]
        assert len(partitions.create(opened, [now + timedelta(days=1)])) == 1
        # Wanted again after all: it is not taken for being there.
        with pytest.raises(TransactionConflictError, match="still read"):
            partitions.create(opened, [now - timedelta(hours=4)])
        plan.maintain(opened, now)  # not yet: once a minute
        assert reader.execute("SELECT count(*) FROM file_events").fetchone() == (0,)
    plan.maintain(opened, now + timedelta(minutes=2))
    left = [each.start for each in partitions.list_partitions(opened)]
    assert min(left) == partitions.hour_of(now - timedelta(hours=2))
    assert not any(each.detaching for each in partitions.list_partitions(opened))


def left_half_detached(database: str, table: str) -> None:
    """Somebody reads it, and the wait for him is given up."""
    with psycopg.connect(database) as reader, psycopg.connect(database, autocommit=True) as owner:
        reader.execute("SELECT count(*) FROM file_events")
        owner.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            owner.execute(f"ALTER TABLE file_events DETACH PARTITION {table} CONCURRENTLY")


def test_a_half_detached_partition_is_finished_before_older_ones(opened: Database, database: str) -> None:
    """PostgreSQL detaches none while another is half detached."""
    now = partitions.hour_of(datetime.now(UTC))
    hours = [now - timedelta(hours=step) for step in (3, 2, 1, 0)]
    partitions.create(opened, hours)
    left_half_detached(database, partitions.table_name(hours[1]))
    assert [each.start for each in partitions.retire(opened, hours[2])] == [hours[1], hours[0]]
    assert [each.start for each in partitions.list_partitions(opened)] == hours[2:]


def test_a_half_detached_table_that_is_not_ours_is_waited_for(opened: Database, database: str) -> None:
    bounds = "FROM ('1999-01-01') TO ('2000-01-01')"
    opened.rows(f"CREATE TABLE archive PARTITION OF file_events FOR VALUES {bounds}")
    now = partitions.hour_of(datetime.now(UTC))
    partitions.create(opened, [now - timedelta(hours=3)])
    left_half_detached(database, "archive")
    with pytest.raises(TransactionConflictError, match="55000"):
        partitions.retire(opened, now)
    opened.rows("ALTER TABLE file_events DETACH PARTITION archive FINALIZE")
    assert len(partitions.retire(opened, now)) == 1


def test_tables_that_are_not_ours_are_left_alone(opened: Database) -> None:
    bounds = "FROM ('1999-01-01') TO ('2000-01-01')"
    opened.rows(f"CREATE TABLE file_events_archive PARTITION OF file_events FOR VALUES {bounds}")
    partitions.create_ahead(opened, 1)
    assert len(partitions.list_partitions(opened)) == 3
    partitions.retire(opened, datetime.now(UTC) + timedelta(days=1))
    assert opened.rows("SELECT to_regclass('file_events_archive') IS NOT NULL") == [(True,)]


def test_maintenance_costs_nothing_within_the_hour(opened: Database) -> None:
    """It is asked for after every flush."""
    now = datetime.now(UTC)
    partitions.create(opened, [now - timedelta(days=40)])
    plan = partitions.PartitionPlan(ahead=2, retention=timedelta(days=30))
    plan.maintain(opened, now)
    opened.close()
    plan.maintain(opened, now + timedelta(seconds=1))
