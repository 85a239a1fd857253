"""kill -9 at random moments while at least 10,000 events a second flow: nothing lost, nothing twice."""

from pathlib import Path

import pytest
from chaos.conftest import Grounds
from chaos.faults import FAULTS, Fault
from chaos.rounds import Rounds
from chaos.scene import Scene, scene
from chaos.traffic import flowing
from chaos.verify import assert_exact

pytestmark = pytest.mark.services
RATE = 12_000
FLOOR = 10_000


@pytest.mark.parametrize("name", FAULTS)
def test_kill(name: str, rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    for this in rounds:
        fault = FAULTS[name]()
        with scene(grounds.of(fault.nodes), tmp_path / str(this.number), this.dice, workers=3) as played:
            rate = strike_while_events_flow(played, fault)
            assert rate >= FLOOR
            this.figures |= {"events": assert_exact(played.site, played.fleet), "rate": round(rate)}


def strike_while_events_flow(played: Scene, fault: Fault) -> float:
    with flowing(played.fleet, RATE) as traffic:
        played.begun()
        played.pause(0, 1.5)
        fault.strike(played)
        played.pause(0.2, 2)
        fault.mend(played)
        played.pause(0.5, 2)
    played.fleet.report()
    return traffic.rate
