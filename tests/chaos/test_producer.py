"""kill -9 of the producer at random moments under more than 10,000 events a second from the real kernel."""

import time

import pytest
from chaos.rounds import Rounds, long_form
from e2e.host import Load, new_host
from local.deployment import Deployment

pytestmark = [pytest.mark.services, pytest.mark.kernel]
_KILLS = 2  # a round
_TURNS = 4000  # a second, of three events each
_FLOOR = 10_000  # events a second, of the long form: the short one runs beside other tests' work
_FULL = "--ring-size=256K"  # a fifth of a second of this load


def test_killed_while_the_ring_has_room(fsmon: Deployment, rounds: Rounds) -> None:
    """Nothing lost, nothing twice, one session."""
    for this in rounds:
        dice = this.dice
        with new_host(fsmon) as host:
            host.start()
            load = Load(host.watched, _TURNS)
            for _ in range(_KILLS):
                time.sleep(dice.uniform(0.05, 1.5))
                fsmon.producer.kill()
                time.sleep(dice.choice((0, dice.uniform(0, 1))))
                host.start()
            turns = load.stop()
            fsmon.stop_producer()
            host.must_have(load)
            assert host.sessions() == [("ended", "SIGINT")]
            this.figures |= {"events": 3 * turns, "rate": fast_enough(load)}


def test_killed_until_the_ring_is_full(fsmon: Deployment, rounds: Rounds) -> None:
    """What was lost is what was counted, exactly."""
    for this in rounds:
        dice = this.dice
        with new_host(fsmon) as host:
            host.start(_FULL, "--spool-size=0")
            load = Load(host.watched, _TURNS)
            for _ in range(_KILLS):
                time.sleep(dice.uniform(0.05, 1))
                fsmon.producer.kill()
                time.sleep(dice.uniform(0.5, 2))
                host.start(_FULL, "--spool-size=0")
            turns = load.stop()
            fsmon.stop_producer()
            assert fsmon.audit(settle_seconds=90) == 0
            lost = host.reported("(lost ->> 'ring_full')::bigint")
            assert (host.stored() + lost, host.reported("emitted")) == (3 * turns, host.stored())
            assert lost > 1000
            this.figures |= {"events": 3 * turns, "lost": lost, "rate": fast_enough(load)}


def fast_enough(load: Load) -> int:
    """Its rate, which is the bar's at least."""
    assert load.rate >= _FLOOR or not long_form()
    return round(load.rate)
