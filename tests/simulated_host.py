"""A host that is simulated: realistic FileEvents, faster than one machine can capture them.

A host repeats a few hundred encoded events of its own and varies seq and time only, so that a
message costs about 2 us. What it sent as seq s can be told again: ``SimulatedHost.event``.
"""

import io
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import fastavro
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema
from fsmon_schemas.framing import encode_long, encode_string

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
