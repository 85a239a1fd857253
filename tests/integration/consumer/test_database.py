"""The database's side: schema, migrations, claims, partitions, on both supported versions."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from fsmon_consumer import claims, partitions
from fsmon_consumer.batch import Decoder, LogSlice
from fsmon_consumer.claims import LogBounds
from fsmon_consumer.flush import flush
from fsmon_consumer.layout import COLUMNS
from fsmon_consumer.migrate import migrate, migrations, require_current
from fsmon_consumer.registry import WriterSchemas
from fsmon_consumer.store import (
    Database,
    DatabaseAwayError,
    RowRefusedError,
    TransactionConflictError,
    as_text,
    statement,
)
from fsmon_schemas import FatalError

pytestmark = [
    pytest.mark.services,
    pytest.mark.parametrize("postgres", ["18", "15"], indirect=True),
    pytest.mark.usefixtures("postgres"),
]
PLACE = ("events", 0)
CATALOG = """
SELECT c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), pg_get_indexdef(c.oid), pg_get_viewdef(c.oid)
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
ORDER BY 1, 3
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture
def opened(database: str) -> Iterator[Database]:
    made = Database(database, role="test")
    made.connect()
    migrate(made)
    yield made
    made.close()


def test_the_table_is_the_schema(opened: Database) -> None:
    columns = opened.rows(
        "SELECT attname::text, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute "
        "WHERE attrelid = 'file_events'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert columns[:-1] == [(column.name, column.sql, column.nullable) for column in COLUMNS]
    assert columns[-1] == ("stored_at", "timestamp with time zone", False)


def test_schema_sql_is_the_sum_of_the_migrations(opened: Database, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        migrated = connection.execute(CATALOG).fetchall(), connection.execute(INDEXES).fetchall()
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute(statement("schema"))
        assert (connection.execute(CATALOG).fetchall(), connection.execute(INDEXES).fetchall()) == migrated


def test_migrating_again_and_at_once_changes_nothing(opened: Database, database: str) -> None:
    assert migrate(opened) == []

    def again() -> None:
        other = Database(database, role="test")
        other.connect()
        applied.append(migrate(other))
        other.close()

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    applied: list[object] = []
    threads = [threading.Thread(target=again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, applied)) == [0, 0, len(migrations())]  # type: ignore[arg-type]


def test_old_newer_and_altered_schemas_are_refused_by_name(opened: Database) -> None:
    require_current(opened)
    opened.rows("DELETE FROM migrations WHERE number = 2")
    with pytest.raises(FatalError, match=r"older.*0002_views.*run fsmon-consumer migrate"):
        require_current(opened)
    opened.rows("INSERT INTO migrations VALUES (99, 'future', 'x')")
    with pytest.raises(FatalError, match=r"0099_future.*upgrade fsmon-consumer"):
        require_current(opened)
    opened.rows("DELETE FROM migrations WHERE number = 99")
    opened.rows("UPDATE migrations SET checksum = 'x'")
    with pytest.raises(FatalError, match="differs"):
        require_current(opened)
    opened.rows("DROP TABLE migrations")
    with pytest.raises(FatalError, match="no fsmon schema; run fsmon-consumer migrate"):
        require_current(opened)


def take(
    database: Database, start: int = 0, end: int = 100, topic_id: str = "t", patience: float = 1
) -> claims.Claim:
    return claims.claim(
        database,
        PLACE,
        LogBounds(topic_id, start, end),
        worker="w",
        takeover_after=timedelta(seconds=patience),
    )


def test_claims(opened: Database) -> None:
    assert take(opened, start=7).next_offset == 7
    assert take(opened).epoch == 2
    assert take(opened, start=20).next_offset == 20
    assert opened.rows("SELECT skipped FROM offsets") == [(13,)]
    with pytest.raises(claims.StuckError, match="the log ends at 5"):
        take(opened, end=5)
    opened.rows("UPDATE offsets SET leader_epoch = 3")
    with pytest.raises(claims.StuckError, match=r"epoch 3 were stored.* epoch 2"):
        claims.claim(
            opened, PLACE, LogBounds("t", 0, 100, 2), worker="w", takeover_after=timedelta(seconds=1)
        )
    assert take(opened, start=0, end=5, topic_id="new") == claims.Claim("new", 4, 0)
    assert opened.rows("SELECT leader_epoch FROM offsets") == [(None,)]


def test_one_database_one_group_one_cluster(opened: Database) -> None:
    first = claims.database_id(opened)
    for _ in range(2):
        claims.adopt(opened, group="a", cluster_id="c")
    assert claims.database_id(opened) == first
    with pytest.raises(FatalError, match="belongs to the consumer group 'a'"):
        claims.adopt(opened, group="b", cluster_id="c")
    with pytest.raises(FatalError, match="Kafka cluster c"):
        claims.adopt(opened, group="a", cluster_id="d")


def test_a_hung_owner_is_cut_off(opened: Database, database: str) -> None:
    """Its backend waits for COPY data with the row locked: no timeout and no cancel reaches it."""
    hung = Database(database, role="hung")
    hung.connect()
    take(hung)
    hanging, over, ended = threading.Event(), threading.Event(), []

    def never_ending() -> Iterator[bytes]:
        hanging.set()
        over.wait(30)
        yield b"PGCOPY\n\xff\r\n\0" + bytes(8)

    def hang() -> None:
        try:
            with hung.transaction():
                hung.rows(statement("fence"), {"topics": ["events"], "partitions": [0]})
                hung.copy("COPY file_events FROM STDIN (FORMAT BINARY)", never_ending())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    assert hanging.wait(10)
    begun = time.monotonic()
    assert take(opened).epoch == 2
    assert 1 < time.monotonic() - begun < 5
    over.set()
    thread.join(10)
    assert isinstance(ended[0], DatabaseAwayError)
    hung.close()


def test_a_batch_flushed_again_still_has_all_its_dead_letters(opened: Database) -> None:
    """A partition lost at the first try may be ours at the second, after a lost connection."""
    held = take(opened)
    now = datetime.now(UTC)
    slices = [LogSlice(*PLACE, 1, [b"h"], [b"garbage"], [0]), LogSlice("events", 1, 1, [b"h"], [b"?"], [0])]
    batch = Decoder("reports", WriterSchemas(None).find).decode(slices, now)
    other = claims.claim(
        opened, ("events", 1), LogBounds("t", 0, 9), worker="w", takeover_after=timedelta(seconds=1)
    )
    lost = {PLACE: replace(held, epoch=0), ("events", 1): other}
    assert flush(opened, batch, lost, now).fenced == {PLACE}
    assert flush(opened, batch, {PLACE: held}, now).next_offsets == {PLACE: 1}
    assert opened.rows("SELECT partition FROM dead_letters ORDER BY 1") == [(0,), (1,)]


def test_partitions_are_made_once_and_take_rows(opened: Database) -> None:
    now = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # the night Europe's clocks go back
    hours = [now + timedelta(hours=step) for step in range(4)]
    assert len(partitions.create(opened, hours)) == 4
    assert partitions.create(opened, hours) == []
    found = partitions.list_partitions(opened)
    assert [each.name for each in found][:2] == ["file_events_2026102500", "file_events_2026102501"]
    values = "host_id, session, seq, time, boot_time, op, pid, tid, ppid, process_start, uid, gid, euid, comm"
    for hour in hours:
        opened.rows(
            f"INSERT INTO file_events ({values}, inode, device, file_type, mode, cgroup_id, mount_ns, hook, "
            "path_source, path_truncated, deleted, count, path) "
            "SELECT 'h', 1, 1, %s, 1, 'open', 1, 1, 1, 1, 1, 1, 1, 'c', 1, 1, '', 1, 1, 1, '', '', "
            "false, false, 1, string_agg(md5(i::text), '/') FROM generate_series(1, 124) AS i",
            [hour],
        )
    assert opened.rows("SELECT count(*), max(length(path)) FROM file_events") == [(4, 4091)]
    with pytest.raises(RowRefusedError):
        opened.rows("INSERT INTO offsets (topic) VALUES (NULL)")
    assert len(partitions.retire(opened, now + timedelta(hours=1, minutes=30))) == 2
    assert opened.rows("SELECT count(*) FROM file_events") == [(2,)]


def test_a_value_that_the_driver_refuses_is_a_row_of_its_kind(opened: Database) -> None:
    """And what it refuses of ours, a wrong statement, ends the worker."""
    for text in ("a\0b", "\udcff"):
        with pytest.raises(RowRefusedError, match="the database driver refuses a value"):
            opened.rows("SELECT %s::text", [text])
        assert opened.rows("SELECT %s::text", [as_text(text)]) == [(as_text(text),)]
    assert as_text("a\0\udcff é") == "a\\0\\udcff é"
    with pytest.raises(FatalError, match="the database driver refuses a statement"):
        opened.rows("SELECT %s", [object()])


def test_partitions_come_and_go_while_others_read_and_write(opened: Database, database: str) -> None:
    now = datetime.now(UTC)
    partitions.create_ahead(opened, 1)
    with psycopg.connect(database) as reader, psycopg.connect(database) as writer:
        reader.execute("SELECT count(*) FROM file_events")
        writer.execute("LOCK TABLE file_events IN ROW EXCLUSIVE MODE")
        begun = time.monotonic()
        assert len(partitions.create(opened, [now + timedelta(days=2)])) == 1
        assert time.monotonic() - begun < 2


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
