"""Simulated hosts: realistic FileEvents with the real framing, faster than one machine can capture them.

    .venv/bin/python tests/generator.py --bootstrap-servers HOST:PORT --hosts 16 --events 1000000

Every host repeats a few hundred encoded events of its own and varies seq and time only, so that a
message costs about 2 us. What host h sent as seq s can be told again: ``SimulatedHost.event``.
"""

import argparse
import io
import json
import random
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import fastavro
from confluent_kafka import KafkaError, Message, Producer
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema
from fsmon_schemas.framing import confluent_prefix, encode_long, encode_string, single_object_prefix

TEMPLATES = 509  # prime: neighbouring seqs of hosts differ
SAME_TIME = 8  # events that share a microsecond
_PROGRAMS = {
    "postgres": ("/usr/lib/postgresql/15/bin/postgres", "/var/lib/postgresql/15/main/base/16384/{n}_fsm"),
    "nginx": ("/usr/sbin/nginx", "/var/www/site-{n}/assets/bündle.{n}.js"),
    "git": ("/usr/bin/git", "/home/dev/src/project/.git/objects/{n:02x}/{n:038x}"),
    "cc1": (
        "/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
        "/home/dev/src/project/build/module_{n}/très long/object_{n}.o",
    ),
    "vim": ("/usr/bin/vim", "/home/dev/notes/.{n}.txt.swp"),
}
_OPS = (
    "open",
    "read",
    "read",
    "read",
    "write",
    "write",
    "create",
    "unlink",
    "rename",
    "chmod",
    "mmap",
    "exec",
)


def encode(schema: Schema, record: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, record)
    return stream.getvalue()


@dataclass
class SimulatedHost:
    """One host and session. ``frame`` is the events' framing prefix."""

    host_id: str
    session: int
    frame: bytes
    start_us: int
    sent: int = 0
    _tails: list[bytes] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._prefix = self.frame + encode_string(self.host_id) + encode_long(self.session)
        head = len(
            encode_string(self.host_id)
            + encode_long(self.session)
            + encode_long(0)
            + encode_long(self.start_us)
        )
        self._tails = [
            encode(FILE_EVENT, self._record(index, 0, self.start_us))[head:] for index in range(TEMPLATES)
        ]

    @property
    def key(self) -> bytes:
        return self.host_id.encode()

    def event(self, seq: int) -> dict[str, Any]:
        """What was sent as ``seq``, as fastavro would read it but for time, which is in microseconds."""
        return self._record(seq % TEMPLATES, seq, self.start_us + seq // SAME_TIME)

    def messages(self, count: int) -> Iterator[bytes]:
        """The next ``count`` message values."""
        prefix, tails, start = self._prefix, self._tails, self.start_us
        moment = b""
        for seq in range(self.sent, self.sent + count):
            if not moment or seq % SAME_TIME == 0:
                moment = encode_long(start + seq // SAME_TIME)
            yield prefix + encode_long(seq) + moment + tails[seq % TEMPLATES]
        self.sent += count

    def report(
        self, *, acked: int, partition: int | None, offset: int | None, ended: bool, **changes: Any
    ) -> bytes:
        """The Avro body of a CaptureReport after ``sent`` events."""
        record = self.report_record(acked=acked, partition=partition, offset=offset, ended=ended)
        return encode(CAPTURE_REPORT, record | changes)

    def report_record(
        self, *, acked: int, partition: int | None, offset: int | None, ended: bool
    ) -> dict[str, Any]:
        """The same before it is encoded."""
        return {
            "host_id": self.host_id,
            "session": self.session,
            "time": int(time.time() * 1e6),
            "boot_time": time.monotonic_ns(),
            "session_start": self.start_us,
            "boot_id": "00000000-0000-4000-8000-000000000000",
            "hostname": self.host_id,
            "kernel": "6.1.0-simulated",
            "version": "0",
            "backend": "tracepoint",
            "state": "ended" if ended else "running",
            "end_reason": "stopped" if ended else None,
            "emitted": self.sent,
            "next_seq": self.sent,
            "acked_seq": acked,
            "backlog": 0,
            "acked_partition": partition,
            "acked_offset": offset,
        }

    def _record(self, template: int, seq: int, time_us: int) -> dict[str, Any]:
        dice = random.Random(f"{self.host_id}/{template}")
        comm = dice.choice(list(_PROGRAMS))
        exe, path = _PROGRAMS[comm]
        op = dice.choice(_OPS)
        number = dice.randrange(200)
        moved = op == "rename"
        pid = dice.randrange(300, 32768)
        return {
            "host_id": self.host_id,
            "session": self.session,
            "seq": seq,
            "time": time_us,
            "boot_time": dice.randrange(1 << 50),
            "op": op,
            "path": path.format(n=number),
            "path_raw": b"/srv/\xff\xfe" if dice.random() < 0.01 else None,
            "target_path": path.format(n=number + 1) if moved else None,
            "target_path_raw": None,
            "pid": pid,
            "tid": pid,
            "ppid": dice.randrange(1, 300),
            "process_start": dice.randrange(1 << 45),
            "uid": dice.choice((0, 33, 1000, 4294967294)),
            "gid": 1000,
            "euid": 1000,
            "loginuid": dice.choice((None, 1000)),
            "comm": comm,
            "exe": exe,
            "inode": dice.randrange(-(1 << 63), 1 << 63),
            "device": 0x800001,
            "file_type": "regular",
            "mode": 0o644,
            "open_flags": 0o100000 if op in {"open", "create"} else None,
            "new_mode": 0o600 if op == "chmod" else None,
            "new_uid": None,
            "new_gid": None,
            "offset": None,
            "length": 8192 if op in {"read", "write"} else None,
            "prot": 1 if op == "mmap" else None,
            "xattr_name": None,
            "cgroup_id": 4242,
            "mount_ns": 4026531841,
            "container_id": "0123456789ab" * 5 if dice.random() < 0.3 else None,
            "hook": "sys_exit",
            "syscall": dice.randrange(335),
            "path_source": "walk",
            "path_truncated": False,
            "deleted": op == "unlink",
            "result": dice.choice((8192, 4096, 0, -2, -13)),
            "count": 1,
            "last_time": None,
        }


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
