"""The database's side: schema, migrations, claims, partitions, on both supported versions."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from fsmon_consumer import claims
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


def test_refused_values_are_told_from_wrong_statements(opened: Database) -> None:
    for text in ("a\0b", "\udcff"):
        with pytest.raises(RowRefusedError, match="the database driver refuses a value"):
            opened.rows("SELECT %s::text", [text])
        assert opened.rows("SELECT %s::text", [as_text(text)]) == [(as_text(text),)]
    assert as_text("a\0\udcff é") == "a\\0\\udcff é"
    with pytest.raises(RowRefusedError):
        opened.rows("INSERT INTO offsets (topic) VALUES (NULL)")
    with pytest.raises(FatalError, match="the database driver refuses a statement"):
        opened.rows("SELECT %s", [object()])
