"""Whether the table holds exactly what was sent: every event, once, each column as it was."""

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from generator import Fleet
from integration.consumer.running import Site
from simulated_host import SAME_TIME, TEMPLATES, SimulatedHost

_EPOCH = datetime.fromtimestamp(0, UTC)


def assert_exact(site: Site, fleet: Fleet, *, seconds: float = 120) -> int:
    """Returns the number of events; ``seconds`` is what the consumers may take to settle."""
    sent = sum(host.sent for host in fleet.hosts)
    audit = site.settled(seconds)
    assert audit["complete"], audit
    assert audit["behind"] == 0, audit
    assert audit["unattributed_dead_letters"] == {}
    assert {each["unaccounted"] for each in audit["sessions"]} == {0}
    assert sum(each["stored"] for each in audit["sessions"]) == sent
    counted = "SELECT count(*), count(DISTINCT (host_id, session, seq)) FROM file_events"
    assert site.rows(counted) == [(sent, sent)]
    assert rows_as_sent(site, fleet.hosts) == sent
    assert_sums(site)
    return sent


def assert_sums(site: Site) -> None:
    """messages = stored + duplicates + dead + expired, of every partition."""
    wrong = "SELECT topic, partition FROM offsets WHERE messages <> stored + duplicates + dead + expired"
    assert site.rows(wrong) == []


def rows_as_sent(site: Site, hosts: Sequence[SimulatedHost]) -> int:
    """How many rows are, column for column, what one of these hosts sent under their identity.

    In SQL, because a round has a hundred thousand rows of 43 columns: what a host repeats is put beside
    them, and a row has to be its template with its own seq and time.
    """
    with psycopg.connect(site.dsn) as connection:
        connection.execute("CREATE TEMP TABLE expected (LIKE file_events INCLUDING DEFAULTS)")
        names = list(hosts[0].event(0))
        quoted = ", ".join(f'"{name}"' for name in names)
        with connection.cursor() as cursor, cursor.copy(f"COPY expected ({quoted}) FROM STDIN") as copy:
            for host in hosts:
                for template in range(min(host.sent, TEMPLATES)):
                    event = host.event(template)
                    event["time"] = _EPOCH + timedelta(microseconds=host.start_us)
                    copy.write_row(list(event.values()))
        connection.execute("ANALYZE expected")
        same = [f'"{name}"' for name in names if name not in {"seq", "time"}]
        [found] = connection.execute(
            f"""
            SELECT count(*)
            FROM file_events AS e
            JOIN expected AS x
              ON x.host_id = e.host_id AND x.session = e.session AND x.seq = e.seq % {TEMPLATES}
            WHERE e.time = x.time + e.seq / {SAME_TIME} * interval '1 microsecond'
              AND ({", ".join(f"e.{name}" for name in same)})
                  IS NOT DISTINCT FROM ({", ".join(f"x.{name}" for name in same)})
            """
        ).fetchone() or (0,)
        return int(found)


def resident(pid: int) -> int:
    """Bytes of memory that the process has; proc(5), statm."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def resident_idle(pid: int, seconds: float = 30) -> int:
    """Bytes of memory that an idle process keeps, once it no longer gives any back.

    Without what it has freed and the kernel has not taken yet: proc(5), smaps_rollup, LazyFree.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup")
    until, before = time.monotonic() + seconds, 0
    while True:
        found = dict(re.findall(r"(\w+): +(\d+) kB", lines.read_text()))
        held = (int(found["Rss"]) - int(found["LazyFree"])) * 1024
        if abs(held - before) < 1 << 20 or time.monotonic() > until:
            return held
        before = held
        time.sleep(3)
