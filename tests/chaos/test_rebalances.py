"""Workers come and go every second or so, and databases are slow: 0 lost, 0 twice, on both protocols."""

import time
from pathlib import Path

import pytest
from chaos.conftest import Grounds
from chaos.rounds import Rounds, long_form
from chaos.scene import PROTOCOLS, Scene, scene
from chaos.traffic import flowing
from chaos.verify import assert_exact
from integration.consumer.running import Running, wait_until

pytestmark = pytest.mark.services
STEPS = 10  # of a short round
MANY = 20  # of a long one: with 25 rounds the bar's 500
RATE = 3_000
MOST = 3  # workers at a time; each takes a core while it starts
FLUSH, LONG_FLUSH = 5, 10  # seconds of a slow database
POLL, LONG_POLL = 3, 6  # seconds of max.poll.interval
# Every claim, in its order: offsets has the last one of each partition.
CLAIMS = """
CREATE TABLE claims (number bigint GENERATED ALWAYS AS IDENTITY, topic text, partition integer, worker text);
CREATE FUNCTION claimed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO claims (topic, partition, worker) VALUES (NEW.topic, NEW.partition, NEW.worker); RETURN NULL;
END $$;
CREATE TRIGGER claimed AFTER INSERT OR UPDATE OF epoch ON offsets FOR EACH ROW EXECUTE FUNCTION claimed();
"""
MOVED = """
SELECT count(*) FROM (
    SELECT worker <> lag(worker) OVER (PARTITION BY topic, partition ORDER BY number) AS moved FROM claims
) AS claimed WHERE moved
"""


def test_rebalances(rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    """Each step moves partitions: a worker that came got some, what one had that left is another's."""
    for this in rounds:
        protocol, steps = PROTOCOLS[this.number % 2], MANY if long_form() else STEPS
        directory = tmp_path / str(this.number)
        with scene(grounds.of(1), directory, this.dice, workers=0, protocol=protocol) as played:
            site = played.site
            site.execute(CLAIMS)
            with flowing(played.fleet, RATE):
                for _ in range(2):
                    played.join()
                played.begun()
                before = site.value(MOVED)
                gone = [left for _ in range(steps) for left in come_or_go(played)]
                wait_until(lambda: not any(held_by(played, left) for left in gone))  # noqa: B023
            played.fleet.report()
            moved = site.value(MOVED) - before
            assert moved >= steps
            this.figures |= {"events": assert_exact(site, played.fleet), "rebalances": steps, "moved": moved}


def come_or_go(played: Scene) -> list[Running]:
    """A worker joins and gets its share, or one leaves: asked to, or killed. Returns who left.

    Nobody waits until what a leaver had is another's: the next step may come before.
    """
    gone = []
    leaves = len(played.workers) == MOST or (len(played.workers) > 1 and played.dice.random() < 0.5)
    if not leaves:
        joined = played.join()
        wait_until(lambda: held_by(played, joined) > 0, describe=played.logs)
    else:
        leaver = played.workers.pop(played.dice.randrange(len(played.workers)))
        # Where the machine stood still for its session time-out, it was thrown out, and comes back.
        wait_until(lambda: held_by(played, leaver) > 0, describe=played.logs)
        gone.append(leaver)
        if played.dice.random() < 0.3:
            leaver.kill()
        else:
            assert leaver.stop() == 0, leaver.text()
    played.pause(0, 0.5)
    return gone


def held_by(played: Scene, worker: Running) -> int:
    """How many partitions were claimed by it last."""
    whose = f"SELECT count(*) FROM offsets WHERE worker LIKE '%:{worker.process.pid}'"
    return int(played.site.value(whose))


def test_slow_database(rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    """Flushes longer than max.poll.interval cost no rebalance, and one meanwhile costs nothing."""
    for this in rounds:
        protocol = PROTOCOLS[this.number % 2]
        flush, poll = (LONG_FLUSH, LONG_POLL) if long_form() else (FLUSH, POLL)
        directory = tmp_path / str(this.number)
        ground, kafka = grounds.of(1), f"max.poll.interval.ms={poll}000"
        with scene(ground, directory, this.dice, workers=0, protocol=protocol, kafka=kafka) as played:
            played.site.execute(slow(flush))
            with flowing(played.fleet, RATE):
                keep_while_flushes_last(played, flush)
                joined = played.join()
                wait_until(lambda: held_by(played, joined) > 0, describe=played.logs)  # noqa: B023
            played.fleet.report()
            played.site.execute("DROP TRIGGER slow ON file_events")  # what is left need not take minutes
            this.figures |= {"events": assert_exact(played.site, played.fleet, seconds=300)}


def slow(seconds: int) -> str:
    """What makes every flush take that long."""
    return f"""
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON file_events FOR EACH STATEMENT EXECUTE FUNCTION slow();
    """


def keep_while_flushes_last(played: Scene, seconds: int) -> None:
    played.join().wait_for("consuming")
    wait_until(lambda: played.site.value("SELECT count(*) FROM streams WHERE stored > 0") > 0)
    epochs = "SELECT topic, partition, epoch FROM offsets ORDER BY 1, 2"
    claims = played.site.rows(epochs)
    time.sleep(seconds)
    assert played.site.rows(epochs) == claims
