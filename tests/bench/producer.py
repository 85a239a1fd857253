"""User CPU of the producer per event, ring to acknowledged, against one that encodes dicts with fastavro.

Both are one Python process with librdkafka's threads counted in, publish the same events with the
same client settings to one partition of a real broker, and are done when all is acknowledged. The
ring is a fake one (tests/unit/producer/fake_capture.py), filled before the clock starts. The dict
producer is spared all reading: it takes the next of some prepared dicts, stamps it, encodes it.
"""

import io
import itertools
import os
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

import fastavro
from confluent_kafka import Producer
from fsmon_producer import kafka
from fsmon_producer.identity import Session
from fsmon_producer.journal import Journal
from fsmon_producer.pipeline import Pipeline
from fsmon_producer.publish import Cluster, Publisher
from fsmon_producer.stop import Stop
from fsmon_producer.topics import Topics
from fsmon_schemas.framing import single_object_prefix
from fsmon_schemas.schema import FILE_EVENT
from unit.producer.fake_capture import FakeCapture, FakeRing, body, event

SESSION = Session("0123456789abcdef0123456789abcdef", 2**62 + 1, "boot", 0, "host", "6.1")
VARIED: list[dict[str, Any]] = [
    {
        "pid": 1000 + number,
        "path": f"/srv/data/project-{number % 17}/src/module_{number}/file.txt",
        "process_start": 10**12 + number,
        "inode": 9_979_475 + number,
        "device": 266338304,
        "cgroup_id": 4242,
        "mount_ns": 4026531832,
        "length": 4096,
        "boot_time": 3_480_601_472_176 + number,
        "file_type": "regular",
        "mode": 0o644,
        "syscall": 1,
        "hook": "sys_exit",
        "path_source": "walk",
    }
    for number in range(1000)
]


def ours(cluster: Cluster, events: int) -> Callable[[], None]:
    capture = FakeCapture(1 << 28)
    payloads = [b"\x00" + body(**values) for values in VARIED]
    for payload in itertools.islice(itertools.cycle(payloads), events):
        assert capture.emit(payload) is not None
    ring = FakeRing(capture)
    publisher = Publisher(cluster, SESSION.host_id, SESSION.id, ring.cursor)
    stop = Stop()
    stop.reason = "bench"  # asked to stop before it starts, it delivers what is in the ring and ends
    journal = Journal(capture, ring, None, SESSION)
    pipeline = Pipeline(capture, journal, publisher, SESSION, stop, report_interval=5, drain_timeout=120)

    def run() -> None:
        assert pipeline.run() == 0
        assert publisher.acknowledged.cursor.seq == events
        publisher.close()
        ring.close()
        capture.close()

    return run


def fastavro_dicts(cluster: Cluster, events: int) -> Callable[[], None]:
    limit = 1_048_588
    producer = Producer(
        kafka.producer_settings(cluster.bootstrap_servers, {}, limit), logger=kafka.CLIENT_LOG
    )
    frame = single_object_prefix(FILE_EVENT)
    prepared = [event(**values, host_id=SESSION.host_id, session=SESSION.id) for values in VARIED]

    def run() -> None:
        key = SESSION.host_id.encode()
        for seq, taken in zip(range(events), itertools.cycle(prepared)):
            stamped = {**taken, "seq": seq}
            stream = io.BytesIO()
            stream.write(frame)
            fastavro.schemaless_writer(stream, FILE_EVENT.parsed, stamped)
            while True:
                try:
                    producer.produce(cluster.topic, stream.getvalue(), key, 0)
                    break
                except BufferError:
                    producer.poll(0.01)
            producer.poll(0)
        assert producer.flush(120) == 0

    return run


def measure(run: Callable[[], None]) -> tuple[float, float, float]:
    """User and system CPU seconds of the process, and wall seconds."""
    before, started = os.times(), time.monotonic()
    run()
    after = os.times()
    return after.user - before.user, after.system - before.system, time.monotonic() - started


def compare(bootstrap: str, events: int, rounds: int) -> None:
    name = f"bench-{uuid.uuid4()}"
    topics = Topics(bootstrap, {})
    for topic in (f"{name}.file-events", f"{name}.capture-reports"):
        topics.create(topic, 1, 1, 10)
        topics.wait_for(topic, 10)
    cluster = Cluster(bootstrap, f"{name}.file-events", f"{name}.capture-reports", None, {})
    contenders = {"fsmon-producer": ours, "fastavro dicts": fastavro_dicts}
    figures: dict[str, list[tuple[float, float, float]]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender, prepare in contenders.items():
            figures[contender].append(measure(prepare(cluster, events)))
    print(f"{events} events of {len(body(**VARIED[0]))} bytes, median of {rounds} rounds, all acknowledged")
    print(f"{'':16}  user us/event  user+sys us/event  events/s")
    users = {}
    for contender, runs in figures.items():
        user, system, wall = (statistics.median(column) for column in zip(*runs, strict=True))
        users[contender] = user
        alone, both = 1e6 * user / events, 1e6 * (user + system) / events
        print(f"{contender:16}  {alone:13.2f}  {both:17.2f}  {events / wall:8.0f}")
    print(f"fsmon-producer takes {users['fastavro dicts'] / users['fsmon-producer']:.1f} times less user CPU")
