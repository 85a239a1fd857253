"""Workers come and go every second or so, and databases are slow: 0 lost, 0 twice, on both protocols."""

import time
from pathlib import Path

import pytest
from chaos.conftest import Grounds
from chaos.rounds import Rounds
from chaos.scene import PROTOCOLS, Scene, scene
from chaos.traffic import flowing
from chaos.verify import assert_exact
from integration.consumer.running import wait_until

pytestmark = pytest.mark.services
STEPS = 10  # of a short round
MANY = 20  # of a long one: with 25 rounds the bar's 500
RATE = 3_000
MOST = 3  # workers at a time; each takes a core while it starts
SLOW_SECONDS = 10
SLOW = f"""
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep({SLOW_SECONDS}); RETURN NULL; END $$;
CREATE TRIGGER slow BEFORE INSERT ON file_events FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""


def test_rebalances(rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    for this in rounds:
        protocol, steps = PROTOCOLS[this.number % 2], MANY if rounds.long else STEPS
        directory = tmp_path / str(this.number)
        with scene(grounds.of(1), directory, this.dice, workers=2, protocol=protocol) as played:
            with flowing(played.fleet, RATE):
                played.begun()
                for _ in range(steps):
                    come_or_go(played)
            played.fleet.report()
            this.figures |= {"events": assert_exact(played.site, played.fleet), "rebalances": steps}
            this.figures["claims"] = int(played.site.value("SELECT sum(epoch) FROM offsets"))


def come_or_go(played: Scene) -> None:
    """A worker joins and gets its share, or one leaves: asked to, or killed."""
    leaves = len(played.workers) == MOST or (len(played.workers) > 1 and played.dice.random() < 0.5)
    if not leaves:
        played.join().wait_for("consuming")
    else:
        leaver = played.workers.pop(played.dice.randrange(len(played.workers)))
        if played.dice.random() < 0.3:
            leaver.kill()
        else:
            assert leaver.stop() == 0, leaver.text()
    played.pause(0, 1)


def test_slow_database(rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    """Flushes of 10 s with a max.poll.interval of 6 s cost no rebalance, and one meanwhile costs nothing."""
    for this in rounds.at_least(1):
        protocol = PROTOCOLS[this.number % 2]
        directory = tmp_path / str(this.number)
        with scene(grounds.of(1), directory, this.dice, workers=0, protocol=protocol) as played:
            of_the_protocol = played.site.settings.get("KAFKA", "")
            played.site.settings["KAFKA"] = f"{of_the_protocol} max.poll.interval.ms=6000".strip()
            played.site.execute(SLOW)
            with flowing(played.fleet, RATE):
                keep_while_flushes_last(played)
                played.join().wait_for("consuming")
            played.fleet.report()
            this.figures |= {"events": assert_exact(played.site, played.fleet, seconds=300)}


def keep_while_flushes_last(played: Scene) -> None:
    played.join().wait_for("consuming")
    wait_until(lambda: played.site.value("SELECT count(*) FROM streams WHERE stored > 0") > 0)
    epochs = "SELECT topic, partition, epoch FROM offsets ORDER BY 1, 2"
    claims = played.site.rows(epochs)
    time.sleep(SLOW_SECONDS)
    assert played.site.rows(epochs) == claims
