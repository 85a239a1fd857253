"""Days of event time in minutes: hourly partitions come and go under a reader and the writers.

A partition is detached while each of them is in a transaction, and waits for it; neither may wait a second
for a lock, and no row be lost or altered: late events, a host whose clock is ahead.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import psycopg
import pytest
from chaos.conftest import Grounds
from chaos.rounds import Rounds, long_form
from chaos.scene import Scene, scene
from chaos.verify import rows_as_sent
from fsmon_consumer import partitions
from fsmon_consumer.partitions import HOUR, hour_of
from fsmon_consumer.store import Database, TransactionConflictError
from generator import Fleet
from integration.consumer.running import wait_until
from simulated_host import SimulatedHost

pytestmark = pytest.mark.services
SHORT, LONG = 7, 48  # hours of a round
KEPT = 4  # hours before a partition is retired; what is late comes within them
LATE, AHEAD = 3, 2
EVENTS = 200  # of each host
READER, WRITER, KEEPER = "reader", "fsmon-consumer run", "fsmon-consumer keeper"
# Writers are in their transaction for long enough to be met.
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$;
CREATE TRIGGER slow BEFORE INSERT ON file_events FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
# Whose transactions, open on the table before a partition was begun to be detached, that waits for.
MET = f"""
SELECT DISTINCT other.application_name, keeper.query
FROM pg_stat_activity AS keeper
JOIN pg_stat_activity AS other ON other.xact_start < keeper.query_start
JOIN pg_locks AS held ON held.pid = other.pid
WHERE keeper.application_name = '{KEEPER}' AND keeper.datname = current_database()
  AND keeper.query LIKE '%DETACH PARTITION%' AND keeper.wait_event_type = 'Lock'
  AND held.relation = 'file_events'::regclass AND held.granted
"""
WRITING = f"""
SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE relation = 'file_events'::regclass AND mode = 'RowExclusiveLock' AND application_name = '{WRITER}'
"""
WAITS = """
SELECT a.application_name, max(extract(epoch FROM clock_timestamp() - l.waitstart))
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE NOT l.granted AND a.datname = current_database()
GROUP BY 1
"""


class Watch:
    """A reader that holds its snapshots for a while; whom a retire met, and how long everybody waited."""

    def __init__(self, dsn: str) -> None:
        self.waits: Counter[str] = Counter()  # milliseconds, the longest
        self.met: defaultdict[str, set[str]] = defaultdict(set)  # by whom, partitions that were detached
        self.failures: list[BaseException] = []
        self._dsn = dsn
        self._stop = threading.Event()
        work = (self._read, self._sample)
        self._threads = [threading.Thread(target=self._guarded, args=(each,)) for each in work]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.failures.append(error)

    def _read(self) -> None:
        with psycopg.connect(self._dsn, application_name=READER) as connection:
            while not self._stop.is_set():
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    connection.execute("SELECT count(*), max(path) FROM file_events")
                    time.sleep(0.2)

    def _sample(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._stop.wait(0.02):
                for name, seconds in connection.execute(WAITS):
                    self.waits[name] = max(self.waits[name], int(1000 * (seconds or 0)))
                for name, statement in connection.execute(MET):
                    self.met[name].add(statement)


def test_hours(rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    for this in rounds:
        with scene(grounds.of(1), tmp_path / str(this.number), this.dice, workers=2) as played:
            played.site.execute(SLOW)
            with Watch(played.site.dsn) as watch:
                this.figures |= press(played, LONG if long_form() else SHORT)
            assert watch.failures == []
            for name in (READER, WRITER):
                assert watch.waits[name] < 1000, watch.waits
                assert watch.met[name], f"no partition was detached under a transaction of {name}"
                this.figures[f"detached under {name}"] = len(watch.met[name])
            this.figures |= {f"ms waited by {name}": waited for name, waited in watch.waits.items()}


def press(played: Scene, hours: int) -> dict[str, float]:
    site, first = played.site, hour_of(datetime.now(UTC)) - timedelta(days=3)
    keeper = Database(site.dsn, role="keeper")
    keeper.connect()
    sent: defaultdict[datetime, list[SimulatedHost]] = defaultdict(list)
    retired = 0
    for step in range(hours):
        now = first + step * HOUR
        for hour in [each for each in sent if each <= now - KEPT * HOUR]:
            retired += stored_as_sent(played, hour, sent.pop(hour))
        partitions.create(keeper, [now + (AHEAD + 1) * HOUR])
        for hour in (now, now, now - LATE * HOUR, now + AHEAD * HOUR):
            sent[hour].append(send(played, hour))
        wait_until(lambda: site.value(WRITING) > 0)
        retire(keeper, now - (KEPT - 1) * HOUR)
    kept = sum(stored_as_sent(played, hour, hosts) for hour, hosts in sent.items())
    assert site.value("SELECT count(*) FROM file_events") == kept
    assert site.value("SELECT sum(stored) FROM streams") == kept + retired == 4 * hours * EVENTS
    assert site.value("SELECT count(*) FROM dead_letters") == 0
    keeper.close()
    return {"hours": hours, "events": kept + retired, "retired": retired}


def send(played: Scene, hour: datetime) -> SimulatedHost:
    """Another host's events of that hour."""
    site = played.site
    start = int((hour + timedelta(minutes=30)).timestamp() * 1e6)
    fleet = Fleet(
        site.bootstrap, site.events, site.reports, hosts=1, partitions=1,
        start_us=start, seed=played.dice.getrandbits(32),
    )  # fmt: skip
    fleet.send(EVENTS)
    return fleet.hosts[0]


def stored_as_sent(played: Scene, hour: datetime, hosts: list[SimulatedHost]) -> int:
    """Wait until all events of that hour are there: these hosts', column for column; how many they are."""
    events = len(hosts) * EVENTS
    window = f"time >= '{hour.isoformat()}' AND time < '{(hour + HOUR).isoformat()}'"
    wait_until(lambda: played.site.value(f"SELECT count(*) FROM file_events WHERE {window}") == events)
    assert rows_as_sent(played.site, hosts) == events
    return events


def retire(keeper: Database, before: datetime) -> None:
    """As `maintain` does: what is still read is tried again."""
    for _ in range(20):
        try:
            partitions.retire(keeper, before)
        except TransactionConflictError:
            continue
        return
    pytest.fail("a partition was read all the time")
