"""The producer killed, stopped and replaced under load: the kernel goes on, the next one loses nothing."""

import random
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from e2e.host import PRODUCER, Host, Load
from fsmon_producer.pins import Pins

pytestmark = [pytest.mark.services, pytest.mark.kernel]


def test_kill_while_it_starts(host: Host) -> None:
    """Each step of a start and of a take-over may be the last one."""
    dice = random.Random(7)
    environment = {**host.fsmon.environment, "FSMON_HOST_ID": host.host_id}
    command = [str(PRODUCER), "run", f"--watch={host.watched}"]
    host.start()
    load = Load(host.watched)
    host.fsmon.producer.kill()
    for number in range(6):
        # Another ring each time: a new session is loaded, pinned, and takes its turn. None that fills,
        # should it be the one in charge until the last start.
        size = ("128M", "256M")[number % 2]
        starting = subprocess.Popen(
            [*command, f"--ring-size={size}"], env=environment, stderr=subprocess.DEVNULL
        )
        time.sleep(dice.uniform(0.2, 7))
        starting.send_signal(signal.SIGKILL)
        starting.wait()
    host.start()
    load.stop()
    host.fsmon.stop_producer()
    host.must_have(load)


def test_kill_between_giving_the_turn_and_taking_it(host: Host) -> None:
    """The next start goes on with the capture that has the turn; one with another drains it to its end."""
    host.start()
    load = Load(host.watched)
    host.fsmon.producer.kill()
    pins = Pins(host.fsmon.directory / "producer" / "bpf")
    turn = pins.turn()
    environment = {**host.fsmon.environment, "FSMON_HOST_ID": host.host_id}
    command = [str(PRODUCER), "run", f"--watch={host.watched}", "--ring-size=128M"]
    starting = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while pins.turn() == turn:
        time.sleep(0.01)
        assert starting.poll() is None
    starting.kill()
    starting.wait()
    given = pins.turn()
    time.sleep(0.5)
    host.start("--ring-size=128M")
    assert pins.turn() == given
    host.fsmon.producer.kill()
    host.start("--ring-size=256M")
    assert pins.turn() not in {turn, given}
    load.stop()
    host.fsmon.stop_producer()
    host.must_have(load)
    assert len(host.sessions()) == 3


def test_a_stopped_producer_leaves_capture_going(host: Host) -> None:
    host.start()
    load = Load(host.watched)
    time.sleep(0.5)
    assert host.fsmon.producer.stop(30) == 0
    time.sleep(1)
    waiting = host.stored()
    time.sleep(0.5)
    host.start()
    turns = load.stop()
    host.fsmon.stop_producer()
    host.must_have(load)
    assert 0 < waiting < 3 * turns
    assert "the kernel goes on capturing" in host.fsmon.producer.log.read_text()


def test_a_full_ring_counts_what_nobody_read(host: Host) -> None:
    host.start("--ring-size=64K")
    host.fsmon.producer.kill()
    load = Load(host.watched)
    time.sleep(1)
    turns = load.stop()
    host.start("--ring-size=64K")
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    lost = host.reported("(lost ->> 'ring_full')::bigint")
    assert (host.stored() + lost, host.reported("emitted")) == (3 * turns, host.stored())
    assert host.stored() > 100
    assert lost > 100


def test_neither_producer_captures_its_own_operations(host: Host) -> None:
    state = host.watched / "state"
    for _ in range(2):
        host.start(f"--state-dir={state}")
        time.sleep(0.3)
        host.fsmon.producer.kill()
    host.start(f"--state-dir={state}")
    (host.watched / "seen").touch()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert host.stored("path LIKE '%/seen'") > 0
    assert host.stored("path LIKE '%/state/%'") == 0


def test_one_owner(host: Host) -> None:
    host.start()
    second = host.run("run", f"--watch={host.watched}", f"--host-id={host.host_id}")
    assert (second.returncode, "another producer (pid" in second.stdout) == (2, True), second.stdout
    detach = host.run("detach")
    assert (detach.returncode, "another producer (pid" in detach.stdout) == (2, True), detach.stdout
    (host.watched / "still").touch()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert host.stored("path LIKE '%/still'") > 0


def test_an_outage_with_kills_goes_through_the_spool(host: Host) -> None:
    """The ring holds some ten seconds of this load: what it cannot hold goes to the disk."""
    kafka = host.fsmon.stack.kafka
    host.start("--ring-size=16M")
    load = Load(host.watched)
    time.sleep(0.5)
    kafka.stop()
    for _ in range(2):
        time.sleep(8)
        host.fsmon.producer.kill()
        host.start("--ring-size=16M")
    time.sleep(8)
    spool = host.fsmon.directory / "producer" / "spool"
    assert sum(file.stat().st_size for file in spool.rglob("*.avro")) > 4 << 20
    kafka.start()
    time.sleep(1)
    host.fsmon.producer.kill()  # while it sends what was spooled
    host.start("--ring-size=16M")
    load.stop()
    host.fsmon.stop_producer()
    host.must_have(load)
    assert len(host.sessions()) == 1
    assert not list(spool.rglob("*.avro"))


def test_where_nothing_can_be_pinned_it_is_said_and_a_stop_ends_the_session(host: Host) -> None:
    for _ in range(2):
        host.start("--bpffs=/proc/fsmon")
        (host.watched / uuid.uuid4().hex).touch()
        assert host.fsmon.producer.stop(30) == 0
        (host.watched / "between").touch()
    assert "NOTHING CAN BE PINNED" in host.fsmon.producer.log.read_text()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert host.stored() == 2
    assert host.sessions() == [("ended", "SIGTERM")] * 2


def test_a_first_start_that_fails_leaves_nothing_in_the_kernel(host: Host) -> None:
    failed = host.run("run", f"--watch={host.watched}", "--topic=no-such-topic")
    assert (failed.returncode, "fsmon-producer topics create" in failed.stdout) == (1, True), failed.stdout
    assert not (host.fsmon.directory / "producer" / "bpf").is_mount()


def test_a_replacement_that_cannot_deliver_changes_nothing(host: Host) -> None:
    host.start()
    (host.watched / "before").touch()
    assert host.fsmon.producer.stop(30) == 0
    failed = host.run("run", f"--watch={host.watched}", f"--host-id={host.host_id}", "--topic=no-such-topic")
    assert (failed.returncode, "fsmon-producer topics create" in failed.stdout) == (1, True), failed.stdout
    (host.watched / "between").touch()
    host.start()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert host.stored("op = 'create'") == 2
    assert host.sessions() == [("ended", "SIGINT")]


def test_waiting_for_kafka_costs_next_to_nothing(host: Host) -> None:
    kafka = host.fsmon.stack.kafka
    host.start()
    (host.watched / "waits").touch()
    kafka.stop()
    time.sleep(2)
    pid = host.fsmon.producer.pid
    assert pid is not None
    before = cpu_seconds(pid)
    time.sleep(6)
    spent = cpu_seconds(pid) - before
    kafka.start()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert host.stored("path LIKE '%/waits'") > 0
    assert spent < 0.3, f"{spent:.2f} s of CPU in 6 s of waiting"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), stat's 14th and 15th, in ticks of 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
