"""Days of event time in minutes: hourly partitions come and go under a reader and a writer.

Neither may wait a second for a lock, and no row may be lost: late events, a host whose clock is ahead.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import psycopg
import pytest
from chaos.conftest import Grounds
from chaos.rounds import Rounds
from chaos.scene import Scene, scene
from fsmon_consumer import partitions
from fsmon_consumer.partitions import HOUR, hour_of
from fsmon_consumer.store import Database, TransactionConflictError
from generator import Fleet
from integration.consumer.running import wait_until

pytestmark = pytest.mark.services
SHORT, LONG = 8, 48  # hours of a round
KEPT = 6  # hours before a partition is retired; what is late comes within them
LATE, AHEAD = 3, 2
EVENTS = 200  # of each host
WAITS = """
SELECT a.application_name, max(extract(epoch FROM clock_timestamp() - l.waitstart))
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE NOT l.granted AND a.datname = current_database()
GROUP BY 1
"""


class Watch:
    """A reader that holds its snapshots for a while, and the longest wait for a lock of everybody."""

    def __init__(self, dsn: str) -> None:
        self.waits: Counter[str] = Counter()  # milliseconds
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
        with psycopg.connect(self._dsn, application_name="reader") as connection:
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


def test_hours(rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    for this in rounds.at_least(1):
        with scene(grounds.of(1), tmp_path / str(this.number), this.dice, workers=2) as played:
            with Watch(played.site.dsn) as watch:
                this.figures |= press(played, LONG if rounds.long else SHORT)
            assert watch.failures == []
            assert watch.waits["reader"] < 1000, watch.waits
            assert watch.waits["fsmon-consumer run"] < 1000, watch.waits
            this.figures |= {f"ms waited by {name}": waited for name, waited in watch.waits.items()}


def press(played: Scene, hours: int) -> dict[str, float]:
    site, first = played.site, hour_of(datetime.now(UTC)) - timedelta(days=3)
    keeper = Database(site.dsn, role="keeper")
    keeper.connect()
    sent: Counter[datetime] = Counter()
    retired = 0
    for step in range(hours):
        now = first + step * HOUR
        for hour in (now, now, now - LATE * HOUR, now + AHEAD * HOUR):
            send(played, hour)
            sent[hour] += EVENTS
        partitions.create(keeper, [now + (AHEAD + 1) * HOUR])
        for hour in [each for each in sent if each <= now - KEPT * HOUR]:
            wait_until(lambda hour=hour: stored(played, hour) == sent[hour])  # type: ignore[misc]
            retired += sent.pop(hour)
        retire(keeper, now - (KEPT - 1) * HOUR)
    for hour, count in sent.items():
        wait_until(lambda hour=hour, count=count: stored(played, hour) == count)  # type: ignore[misc]
    assert site.value("SELECT count(*) FROM file_events") == sum(sent.values())
    assert site.value("SELECT sum(stored) FROM streams") == sum(sent.values()) + retired
    assert site.value("SELECT count(*) FROM dead_letters") == 0
    keeper.close()
    return {"hours": hours, "events": sum(sent.values()) + retired, "retired": retired}


def send(played: Scene, hour: datetime) -> None:
    """Another host's events of that hour."""
    site = played.site
    start = int((hour + timedelta(minutes=30)).timestamp() * 1e6)
    fleet = Fleet(
        site.bootstrap, site.events, site.reports, hosts=1, partitions=1,
        start_us=start, seed=played.dice.getrandbits(32),
    )  # fmt: skip
    fleet.send(EVENTS)


def stored(played: Scene, hour: datetime) -> int:
    window = f"time >= '{hour.isoformat()}' AND time < '{(hour + HOUR).isoformat()}'"
    return int(played.site.value(f"SELECT count(*) FROM file_events WHERE {window}"))


def retire(keeper: Database, before: datetime) -> None:
    """As `maintain` does: what is still read is tried again."""
    for _ in range(20):
        try:
            partitions.retire(keeper, before)
        except TransactionConflictError:
            continue
        return
    pytest.fail("a partition was read all the time")
