"""The programs in the kernel and their maps: what is watched, counted and released.

Works on the bcc.BPF that the loader made, and imports nothing of BCC itself.
"""

import ctypes
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fsmon_bpf import avro_encoder
from fsmon_bpf.backends import Backend
from fsmon_bpf.syscalls import CALLS, Kind, Uncovered

from fsmon_producer.identity import started
from fsmon_producer.pins import LINKS, Identity, Pinned, Pins
from fsmon_producer.settings import WAITING, Setting, Settings
from fsmon_producer.watches import Watched, Watches

OPERATIONS = tuple(avro_encoder.enums()["Operation"])
# enum stage in maps.h; the first counts what went well.
LOSS_STAGES = ("ring_full", "oversize", "storage", "overtaken")


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted since the programs were loaded; every figure only grows."""

    emitted: Mapping[str, int]  # op -> events put into the ring
    lost: Mapping[str, Mapping[str, int]]  # stage -> op -> events wanted and lost there
    uncovered: Mapping[str, int]  # kind -> system calls this backend cannot see into


class Capture:
    """Attached programs and their maps. The ring is read by fsmon_producer.ring through ``ring_fd``."""

    def __init__(
        self, bpf: Any, backend: Backend, ring_bytes: int, *, maps: Mapping[str, int] | None = None
    ) -> None:
        """``maps``: the descriptor of every map by name; none of what is pinned and attached already."""
        self._bpf = bpf
        self._backend = backend
        self.backend = backend.name
        self.ring_bytes = ring_bytes
        self.ring_fd: int = bpf[b"ring"].map_fd
        self.pinned: Pinned | None = None
        self._maps = maps or {}
        self._attached = maps is None
        self._settings = Settings(bpf)
        self._watches = Watches(bpf, self._settings)

    def attach(self) -> None:
        """Attach a program to each raw tracepoint; nothing is captured before ``enable``.

        BCC has attached the LSM programs when it loaded them.
        """
        self._attached = True
        self._set_call(next(number for number, call in CALLS.items() if call.kind is Kind.MARKER))
        for tracepoint in self._backend.tracepoints:
            self._bpf.attach_raw_tracepoint(tp=tracepoint.encode(), fn_name=b"on_" + tracepoint.encode())

    def enable(self, ops: frozenset[str]) -> None:
        """Fill the table of system calls: from here on operations are captured."""
        wanted = 0
        for op in ops:
            wanted |= 1 << OPERATIONS.index(op)
        self._settings.set(Setting.OPS, wanted)
        for number, call in CALLS.items():
            # Renames are followed even if not reported: they change what is watched.
            if call.kind is not Kind.FD or call.op in ops:
                self._set_call(number)

    def watch(self, path: Path, *, exclude: bool = False) -> None:
        """Include (or exclude) a file, or a directory and all below; ConfigError if it is not there.

        In force on return, as ``unwatch`` and ``rewatch`` are, while everything else goes on being captured.
        """
        self._watches.add(path, exclude=exclude)

    def unwatch(self, path: Path, *, exclude: bool = False) -> None:
        """Take the rule back; ConfigError if there is none."""
        self._watches.remove(path, exclude=exclude)

    def rewatch(self, include: Iterable[Path], exclude: Iterable[Path]) -> tuple[list[Path], list[Path]]:
        """Have these rules alone. Returns the names added and removed; ConfigError changes nothing."""
        return self._watches.replace(include, exclude)

    def resume(self, include: Iterable[Path], exclude: Iterable[Path], *, forget: bool) -> None:
        """Have these rules in a capture that was taken over; ``forget`` what else it watched."""
        self._watches.resume(include, exclude, forget=forget)

    def watched(self) -> list[Watched]:
        """The rules that are in force."""
        return self._watches.list()

    def follow_names(self) -> list[Path]:
        """Watch what stands now where another file was named, and say which; call it about once a second.

        Nothing is looked at any more once the programs are detached: they tell the inodes.
        """
        return self._watches.follow_names() if self._attached else []

    def ignore(self, pids: Iterable[int]) -> None:
        """Report nothing that these processes do, and of no others that."""
        wanted = {pid: started(pid) for pid in pids}
        table = self._bpf[b"ignored"]
        for pid, start in wanted.items():
            table[ctypes.c_uint32(pid)] = ctypes.c_uint64(start)
        for key, _ in list(table.items()):
            if key.value not in wanted:
                del table[key]

    def await_turn(self, session: int) -> None:
        """Report nothing but what the programs before these leave to them; see turn.h."""
        self._settings.set(Setting.GENERATION, WAITING | session)

    def take_turn(self, session: int) -> None:
        """Report everything: there are no programs before these any more, or none that report."""
        self._settings.set(Setting.GENERATION, session)

    def keep(self, pins: Pins, identity: Identity) -> None:
        """Pin everything: from here on the capture outlives this process, and ``close`` does not end it."""
        found = {f"maps/{name}": descriptor for name, descriptor in self._maps.items()}
        for name, function in self._bpf.funcs.items():
            found[f"programs/{name.decode()}"] = function.fd
        for kind in LINKS:
            for name, descriptor in getattr(self._bpf, f"{kind}_fds").items():
                found[f"links/{kind}-{name.decode()}"] = descriptor
        self.pinned = pins.keep(identity, found)

    def counters(self) -> Counters:
        """A snapshot; each figure is a sum over CPUs that may be a few events apart from the next."""
        return counted(
            self._bpf, OPERATIONS, LOSS_STAGES, {kind.name.lower(): int(kind) for kind in Uncovered}
        )

    def program_fd(self, tracepoint: str) -> int:
        """The descriptor of the program on a raw tracepoint: its fdinfo has run time and verifier figures."""
        return int(self._bpf.funcs[b"on_" + tracepoint.encode()].fd)

    def read_cursor(self) -> tuple[int, int]:
        """Ring position up to which records were released, and the seq of the record there."""
        cursor = self._bpf[b"cursors"][ctypes.c_int(0)]
        return cursor.position, cursor.seq

    def write_cursor(self, position: int, seq: int) -> None:
        """One map update, to be made before the ring's consumer position moves: see ring.py."""
        cursors = self._bpf[b"cursors"]
        cursors[ctypes.c_int(0)] = cursors.Leaf(position, seq)

    def begin(self, position: int) -> None:
        """Count from 0 again, ``position`` of the ring being seq 0; only while nothing is watched."""
        self._bpf[b"outcomes"].clear()
        self._bpf[b"uncovered"].clear()
        self.write_cursor(position, 0)

    def sync_clock(self) -> None:
        """Tell the kernel how far wall time is from boot time; call it about once a second."""
        offset = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._settings.set(Setting.WALL_OFFSET, offset & (2**64 - 1))

    def detach(self) -> None:
        """Stop capturing; what is in the ring and the counters can still be read."""
        if self._attached:
            self._attached = False
            if self.pinned is not None:
                self.pinned.unpin_links()
            for hook in list(self._bpf.lsm_fds):
                self._bpf.detach_lsm(hook)
            # sys_exit, attached last, goes first: without the others' notes it counts calls as unresolved.
            for tracepoint in reversed(self._backend.tracepoints):
                if tracepoint.encode() in self._bpf.raw_tracepoint_fds:
                    self._bpf.detach_raw_tracepoint(tp=tracepoint.encode())

    def close(self) -> None:
        """Detach, and give the maps and the ring back; what is pinned goes on."""
        if self.pinned is None:
            self.detach()
        self._bpf.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set_call(self, number: int) -> None:
        calls = self._bpf[b"calls"]
        op = OPERATIONS.index(CALLS[number].op)
        calls[ctypes.c_int(number)] = calls.Leaf.from_buffer_copy(CALLS[number].packed(op))


def counted(
    objects: Any, operations: Sequence[str], stages: Sequence[str], uncovered: Mapping[str, int]
) -> Counters:
    """What the maps say, ``stages`` without the first, and ``operations`` being what their indexes mean."""
    outcomes = [_sum(values) for values in objects[b"outcomes"].values()]
    by_stage = [
        outcomes[start : start + len(operations)] for start in range(0, len(outcomes), len(operations))
    ]
    calls = [_sum(values) for values in objects[b"uncovered"].values()]
    return Counters(
        emitted=_named(operations, by_stage[0]),
        lost={
            stage: _named(operations, figures) for stage, figures in zip(stages, by_stage[1:], strict=True)
        },
        uncovered={kind: calls[index] for kind, index in uncovered.items() if calls[index]},
    )


def _sum(values: Any) -> int:
    return int(sum(value.value if hasattr(value, "value") else value for value in values))


def _named(operations: Sequence[str], figures: list[int]) -> dict[str, int]:
    return {op: figure for op, figure in zip(operations, figures, strict=True) if figure}
