"""Kafka away, in the long form for longer than any time-out of clients: a spool with room, one without."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.rounds import Rounds
from e2e.host import PRODUCER, Host, Load, deployed, new_host
from integration.consumer.running import wait_until
from local.deployment import Deployment
from local.process import Process

pytestmark = [pytest.mark.services, pytest.mark.kernel]
# Seconds. The longest default of librdkafka and Kafka is 5 min (delivery, poll interval, age of metadata).
SHORT, LONG = 12, 400
TURNS = 1000  # a second, on each host


@pytest.fixture(scope="module")
def fsmon(state_dir: Path) -> Iterator[Deployment]:
    with deployed(state_dir / "chaos-outage", consumers=2) as deployment:
        yield deployment


def started(fsmon: Deployment, host: Host) -> Process:
    """A second producer, with a state directory of its own and next to no room."""
    producer = Process(f"producer-{host.host_id}", fsmon.directory, tell=signal.SIGUSR1)
    options = [f"--watch={host.watched}", f"--host-id={host.host_id}"]
    options += [f"--state-dir={fsmon.directory / host.host_id}", "--ring-size=1M", "--spool-size=1M"]
    producer.launch([PRODUCER, "run", *options], fsmon.environment)
    producer.wait(lambda: "capturing on" in producer.log.read_text(), 60)
    return producer


def test_outage(fsmon: Deployment, rounds: Rounds) -> None:
    """With room nothing is lost; without, what was lost is what was counted."""
    for this in rounds.at_least(1):
        seconds = LONG if rounds.long else SHORT
        with new_host(fsmon) as roomy, new_host(fsmon) as full:
            roomy.start()
            second = started(fsmon, full)
            loads = [Load(host.watched, TURNS) for host in (roomy, full)]
            time.sleep(1)
            begun = time.monotonic()
            fsmon.stack.kafka.stop()
            time.sleep(seconds)
            fsmon.stack.kafka.start()
            away = time.monotonic() - begun
            time.sleep(1)
            for load in loads:
                load.stop()
            spool = fsmon.directory / "producer" / "spool"
            wait_until(lambda: not list(spool.rglob("*.avro")), seconds=600)  # noqa: B023 - called here
            fsmon.stop_producer()
            assert second.stop(60, signal.SIGINT) == 0, second.log.read_text()
            roomy.must_have(loads[0])
            lost = full.reported("(lost ->> 'ring_full')::bigint")
            assert lost > 1000
            assert full.stored() == full.reported("emitted") == 3 * loads[1].turns - lost
            assert all(consumer.pid is not None for consumer in fsmon.consumers)
            this.figures |= {
                "seconds away": round(away),
                "events": 3 * loads[0].turns,
                "lost without room": lost,
            }
