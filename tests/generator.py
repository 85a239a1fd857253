"""A fleet of simulated hosts that publishes with the real framing.

.venv/bin/python tests/generator.py --bootstrap-servers HOST:PORT --hosts 16 --events 1000000
"""

import argparse
import json
import random
import time
import urllib.request
from typing import Any

from confluent_kafka import KafkaError, Message, Producer
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema
from fsmon_schemas.framing import confluent_prefix, single_object_prefix
from simulated_host import SimulatedHost


class Fleet:
    """Hosts that publish to one pair of topics, each to its one partition."""

    def __init__(
        self,
        bootstrap: str,
        events: str,
        reports: str,
        *,
        hosts: int,
        partitions: int,
        registry: str | None = None,
        start_us: int | None = None,
        seed: int = 1,
    ) -> None:
        self.events, self.reports, self._partitions = events, reports, partitions
        self._event_frame = single_object_prefix(FILE_EVENT)
        self._report_frame = single_object_prefix(CAPTURE_REPORT)
        if registry is not None:
            self._event_frame = confluent_prefix(register(registry, f"{events}-value", FILE_EVENT))
            self._report_frame = confluent_prefix(register(registry, f"{reports}-value", CAPTURE_REPORT))
        dice = random.Random(seed)
        start = start_us or int(time.time() * 1e6) - 60_000_000
        self.hosts = [
            SimulatedHost(f"simulated-{number:04}", dice.getrandbits(63), self._event_frame, start)
            for number in range(hosts)
        ]
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,
                "compression.type": "lz4",
                "linger.ms": 50,
                "queue.buffering.max.messages": 500_000,
            }
        )
        self._last: dict[
            str, tuple[int, int]
        ] = {}  # host -> partition, offset of its newest acknowledged event

    def partition(self, host: SimulatedHost) -> int:
        return self.hosts.index(host) % self._partitions

    def send(self, count: int, *, chunk: int = 500) -> None:
        """``count`` more events of each host, the hosts taking turns; returns when all are acknowledged."""
        done = 0
        while done < count:
            step = min(chunk, count - done)
            self.queue(step)
            done += step
        self.flush()

    def queue(self, count: int) -> None:
        """``count`` more events of each host, without waiting for the broker unless the queue is full."""
        for host in self.hosts:
            self._send_chunk(host, count)

    def flush(self) -> None:
        left = self.producer.flush(120)
        assert not left, f"{left} messages were not delivered"

    def _send_chunk(self, host: SimulatedHost, count: int) -> None:
        produce, topic, key, partition = self.producer.produce, self.events, host.key, self.partition(host)
        last = host.sent + count - 1
        for seq, value in enumerate(host.messages(count), host.sent):
            while True:
                try:
                    if seq == last:
                        produce(topic, value, key, partition, on_delivery=self._delivered)
                    else:
                        produce(topic, value, key, partition)
                    break
                except BufferError:
                    self.producer.poll(0.1)
        self.producer.poll(0)

    def send_raw(
        self, partition: int, key: bytes | None, value: bytes | None, topic: str | None = None
    ) -> None:
        self.producer.produce(topic or self.events, value, key, partition)

    def report(self, *, ended: bool = True, **changes: Any) -> None:
        """A CaptureReport of every host, after all its events were acknowledged."""
        for host in self.hosts:
            partition, offset = self._last.get(host.host_id, (None, None))
            body = host.report(acked=host.sent, partition=partition, offset=offset, ended=ended, **changes)
            self.producer.produce(
                self.reports, self._report_frame + body, f"{host.host_id}/{host.session}".encode()
            )
        self.flush()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        key, partition, offset = message.key(), message.partition(), message.offset()
        assert isinstance(key, bytes)
        assert partition is not None
        assert offset is not None
        self._last[key.decode()] = partition, offset


def register(registry: str, subject: str, schema: Schema) -> int:
    request = urllib.request.Request(
        f"{registry}/subjects/{subject}/versions",
        data=json.dumps({"schema": schema.text}).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return int(json.load(response)["id"])


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--bootstrap-servers", required=True)
    options.add_argument("--topic", default="fsmon.file-events")
    options.add_argument("--reports-topic", default="fsmon.capture-reports")
    options.add_argument("--registry")
    options.add_argument("--partitions", type=int, default=4)
    options.add_argument("--hosts", type=int, default=16)
    options.add_argument("--events", type=int, default=100_000, help="of all hosts together")
    given = options.parse_args()
    fleet = Fleet(
        given.bootstrap_servers,
        given.topic,
        given.reports_topic,
        hosts=given.hosts,
        partitions=given.partitions,
        registry=given.registry,
        seed=time.time_ns(),
    )
    begun, burnt = time.perf_counter(), time.process_time()
    fleet.send(given.events // given.hosts)
    took, burnt = time.perf_counter() - begun, time.process_time() - burnt
    fleet.report()
    sent = sum(host.sent for host in fleet.hosts)
    print(f"{sent} events in {took:.1f} s: {sent / took:,.0f} events/s, {burnt / sent * 1e6:.2f} us CPU each")


if __name__ == "__main__":
    main()
