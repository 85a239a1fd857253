"""What the demo shows of the stored events, all of it plain SQL on file_events."""

from pathlib import Path
from typing import LiteralString

import psycopg
from rich.console import Console
from rich.table import Table

_BY_OPERATION: LiteralString = """
SELECT op AS operation, count(*) AS events, count(*) FILTER (WHERE result < 0) AS failed,
       (sum(result) FILTER (WHERE op IN ('read', 'write') AND result > 0))::bigint AS bytes
FROM file_events GROUP BY op ORDER BY events DESC
"""
_BY_PROCESS: LiteralString = """
SELECT comm AS process, count(*) AS events, count(DISTINCT pid) AS processes, count(DISTINCT path) AS files
FROM file_events GROUP BY comm ORDER BY events DESC LIMIT 12
"""
_SAMPLE: LiteralString = """
SELECT to_char(time, 'HH24:MI:SS.MS') AS time, pid::text, comm AS process, op,
       replace(path, %(below)s, '') AS path,
       coalesce('→ ' || replace(target_path, %(below)s, ''), result::text) AS result
FROM (
    SELECT *, row_number() OVER (PARTITION BY op ORDER BY result > 0 DESC, hashint8(seq)) AS nth
    FROM file_events
    WHERE op IN ('create', 'read', 'write', 'rename', 'link', 'symlink', 'chmod', 'unlink', 'mmap', 'exec')
) AS shuffled
WHERE nth = 1 ORDER BY seq
"""
_LATENCY: LiteralString = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM stored_at - time))
FROM file_events
"""


def show(database: psycopg.Connection, watched: Path) -> None:
    """Print events by operation and by process, ten of them, and how late they were stored."""
    # A log file is no terminal and has no width; the paths would fold at 80 columns.
    console = Console(width=None if Console().is_terminal else 140)
    tables = {
        "By operation": _BY_OPERATION,
        "By process": _BY_PROCESS,
        f"Ten events, paths below {watched}": _SAMPLE,
    }
    for title, query in tables.items():
        console.print(_table(database, title, query, watched))
    row = database.execute(_LATENCY).fetchone()
    assert row is not None
    median, late = row[0]
    console.print(f"From the operation to its row in PostgreSQL: p50 {median:.3f} s, p99 {late:.3f} s\n")


def _table(database: psycopg.Connection, title: str, query: LiteralString, watched: Path) -> Table:
    cursor = database.execute(query, {"below": f"{watched}/"})
    assert cursor.description is not None
    table = Table(title=title, title_justify="left")
    rows = cursor.fetchall()
    for index, column in enumerate(cursor.description):
        numbers = all(isinstance(row[index], int) or row[index] is None for row in rows)
        table.add_column(column.name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
