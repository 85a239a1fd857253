"""`fsmon-producer detach`: capture ends, what it had is delivered or kept, nothing stays in the kernel."""

import shutil
import time

import pytest
from e2e.host import PRODUCER, Host
from fsmon_producer.pins import Pins
from fsmon_producer.remains import Remains
from fsmon_producer.settings import Setting, Settings

pytestmark = [pytest.mark.services, pytest.mark.kernel]


def test_detach_delivers_and_removes_everything(host: Host) -> None:
    state = host.fsmon.directory / "producer"
    host.start()
    host.fsmon.producer.kill()
    (host.watched / "left").touch()
    assert any((state / "bpf").iterdir())
    detached = host.run("detach")
    assert detached.returncode == 0, detached.stdout
    assert not (state / "bpf").is_mount()
    assert not any((state / "bpf").iterdir())
    (host.watched / "unseen").touch()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert (host.stored("path LIKE '%/left'") > 0, host.stored("path LIKE '%/unseen'")) == (True, 0)
    assert host.sessions() == [("ended", "detached")]


def test_a_capture_whose_ring_cannot_be_read_is_removed(host: Host) -> None:
    host.start("--ring-size=64K")
    host.fsmon.producer.kill()
    (host.watched / "unread").touch()
    [pinned] = Pins(host.fsmon.directory / "producer" / "bpf").sessions()
    remains = Remains(pinned)
    remains.write_cursor(1 << 40, 0)  # nothing has been written there
    remains.close()
    host.start()
    host.fsmon.stop_producer()
    assert "end this capture with `fsmon-producer detach`" in host.fsmon.producer.log.read_text()
    detached = host.run("detach")
    assert (detached.returncode, "events were captured, not delivered" in detached.stdout) == (1, True)
    assert not (host.fsmon.directory / "producer" / "bpf").is_mount()


def test_detached_during_an_outage_all_is_delivered_by_the_next_run(host: Host) -> None:
    kafka = host.fsmon.stack.kafka
    host.start()
    kafka.stop()
    (host.watched / "before").touch()
    host.fsmon.producer.kill()
    detached = host.run("detach", "--drain-timeout=1")
    assert detached.returncode == 0, detached.stdout
    assert "are in the spool" in detached.stdout
    (host.watched / "unseen").touch()
    kafka.start()
    host.start()
    (host.watched / "after").touch()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    seen = {name: host.stored(f"path LIKE '%/{name}'") > 0 for name in ("before", "unseen", "after")}
    assert seen == {"before": True, "unseen": False, "after": True}
    assert host.sessions() == [("ended", "detached"), ("ended", "SIGINT")]


def test_detached_during_an_outage_with_nothing_left_its_end_is_told_by_the_next_run(host: Host) -> None:
    kafka = host.fsmon.stack.kafka
    host.start()
    (host.watched / "before").touch()
    while not host.stored("path LIKE '%/before'"):
        time.sleep(0.1)
    host.fsmon.producer.kill()
    kafka.stop()
    detached = host.run("detach", "--drain-timeout=1")
    assert detached.returncode == 0, detached.stdout
    assert "the last report is in the spool" in detached.stdout
    kafka.start()
    host.start()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert host.sessions() == [("ended", "detached"), ("ended", "SIGINT")]


def test_what_can_never_be_delivered_is_detached_into_the_spool(host: Host) -> None:
    kafka = host.fsmon.stack.kafka
    kafka.stop()  # else it would not begin
    unregistered = {**host.fsmon.environment, "FSMON_TOPIC": "no-such-topic"}
    del unregistered["FSMON_REGISTRY"]
    producer = host.fsmon.producer
    producer.launch([PRODUCER, "run", f"--watch={host.watched}", f"--host-id={host.host_id}"], unregistered)
    producer.wait(lambda: "capturing on " + host.host_id in producer.log.read_text(), 60)
    (host.watched / "file").touch()
    producer.kill()
    kafka.start()
    detached = host.run("detach")
    assert (detached.returncode, "no-such-topic" in detached.stdout) == (0, True), detached.stdout
    assert "are in the spool" in detached.stdout
    assert not (host.fsmon.directory / "producer" / "bpf").is_mount()
    shutil.rmtree(host.fsmon.directory / "producer" / "spool")


def test_killed_while_it_detaches_the_next_run_captures_anew(host: Host) -> None:
    host.start()
    (host.watched / "before").touch()
    host.fsmon.producer.kill()
    pins = host.fsmon.directory / "producer" / "bpf"
    [pinned] = Pins(pins).sessions()
    Settings(pinned.objects()).set(Setting.OPS, 0)  # as far as Pinned.unpin_links may have come
    next(pins.glob("*/links/*sys_exit")).unlink()
    (host.watched / "unseen").touch()
    host.start()
    (host.watched / "after").touch()
    host.fsmon.stop_producer()
    assert host.fsmon.audit(settle_seconds=90) == 0
    assert [host.stored(f"path LIKE '%/{name}'") > 0 for name in ("before", "unseen", "after")] == [1, 0, 1]
    assert host.sessions() == [("ended", "its programs were detached"), ("ended", "SIGINT")]
