"""Kafka away for longer than any time-out: a spool with room, one without.

In the long form the time-outs are what users get. In the short one they are shortened, with --kafka and in
proportion: of sockets (3 s for 60), of connecting (2 s for 30), of a produce request (3 s for 30), of what is
known of topics (2 s for 5 min, at most 6 s for 15), and max.poll.interval.ms (6 s for 5 min). The broker's
session of a member is 10 s (45), and a question of ours to the cluster waits 10 s. A message has none, for
--kafka refuses any message.timeout.ms but 0.
"""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.rounds import Rounds, long_form
from e2e.host import PRODUCER, Host, Load, deployed, new_host
from integration.consumer.running import wait_until
from local.deployment import Deployment
from local.process import Process

pytestmark = [pytest.mark.services, pytest.mark.kernel]
# Seconds. The longest time-out by default is 5 min; what is known of topics is forgotten after 15.
SHORT, LONG = 12, 400
TURNS = 1000  # a second, on each host
_CLIENTS = (
    "socket.timeout.ms=3000 socket.connection.setup.timeout.ms=2000 "
    "topic.metadata.refresh.interval.ms=2000 metadata.max.age.ms=6000"
)
_CONSUMERS = f"{_CLIENTS} max.poll.interval.ms=6000"
_PRODUCERS = f"{_CLIENTS} request.timeout.ms=3000"


@pytest.fixture(scope="module")
def fsmon(state_dir: Path) -> Iterator[Deployment]:
    with pytest.MonkeyPatch.context() as environment:
        if not long_form():
            environment.setenv("FSMON_KAFKA", _CONSUMERS)
        with deployed(state_dir / "chaos-outage", consumers=2) as deployment:
            if not long_form():
                environment.setenv("FSMON_KAFKA", _PRODUCERS)
            yield deployment


def launched(fsmon: Deployment, host: Host) -> Process:
    """A second producer, with a state directory of its own and next to no room; returns at once."""
    producer = Process(f"producer-{host.host_id}", fsmon.directory, tell=signal.SIGUSR1)
    options = [f"--watch={host.watched}", f"--host-id={host.host_id}"]
    options += [f"--state-dir={fsmon.directory / host.host_id}", "--ring-size=1M", "--spool-size=1M"]
    producer.launch([PRODUCER, "run", *options], fsmon.environment)
    return producer


def test_outage(fsmon: Deployment, rounds: Rounds) -> None:
    """With room nothing is lost; without, what was lost is what was counted."""
    for this in rounds:
        seconds = LONG if long_form() else SHORT
        with new_host(fsmon) as roomy, new_host(fsmon) as full:
            second = launched(fsmon, full)
            roomy.start("--ring-size=4M")  # some seconds of the load: the rest goes to the spool
            second.wait(lambda: "capturing on" in second.log.read_text(), 60)  # noqa: B023 - called here
            loads = [Load(host.watched, TURNS) for host in (roomy, full)]
            time.sleep(1)
            begun = time.monotonic()
            for node in fsmon.stack.kafka.nodes:
                node.kill()
            time.sleep(seconds)
            spool = fsmon.directory / "producer" / "spool"
            assert sum(file.stat().st_size for file in spool.rglob("*.avro")) > 1 << 20
            fsmon.stack.kafka.start()
            away = time.monotonic() - begun
            time.sleep(1)
            for load in loads:
                load.stop()
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
