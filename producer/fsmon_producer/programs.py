"""The programs in the kernel and their maps: what is watched, counted and released.

Works on the bcc.BPF that the loader made, and imports nothing of BCC itself.
"""

import ctypes
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from fsmon_bpf import avro_encoder
from fsmon_bpf.backends import Backend
from fsmon_bpf.hooks import Hook, Way
from fsmon_bpf.rows import ROWS
from fsmon_bpf.syscalls import Kind, Uncovered

from fsmon_producer.counters import Counters, counted, skipped
from fsmon_producer.hook_probe import Answer
from fsmon_producer.identity import started
from fsmon_producer.marker import Marker
from fsmon_producer.pins import LINKS, Identity, Pinned, Pins
from fsmon_producer.resolver import Resolver
from fsmon_producer.settings import WAITING, Setting, Settings
from fsmon_producer.watches import Watched, Watches

OPERATIONS = tuple(avro_encoder.enums()["Operation"])
# enum stage in maps.h; the first counts what went well.
LOSS_STAGES = ("ring_full", "oversize", "storage", "overtaken")


class Capture:
    """Attached programs and their maps. The ring is read by fsmon_producer.ring through ``ring_fd``."""

    def __init__(
        self,
        bpf: Any,
        backend: Backend,
        hooks: Mapping[Hook, Answer],
        ring_bytes: int,
        *,
        maps: Mapping[str, int] | None = None,
    ) -> None:
        """``maps``: the descriptor of every map by name; none of what is pinned and attached already."""
        self._bpf = bpf
        self._backend = backend
        self.hooks = dict(hooks)  # those whose program loads are attached
        self.backend = backend.name
        self.ring_bytes = ring_bytes
        self.ring_fd: int = bpf[b"ring"].map_fd
        self.pinned: Pinned | None = None
        self._maps = maps or {}
        self._attached = maps is None
        self._skipped_before: Mapping[str, int] = {}
        self._settings = Settings(bpf)
        marker = Marker(bpf, self._settings)
        self._watches = Watches(bpf, self._settings, marker)
        self._resolver = Resolver(bpf[b"questions"].map_fd, marker) if backend.asks else None

    def attach(self) -> None:
        """Attach the programs; nothing is captured before ``enable``.

        A hook that the kernel refuses is one that is missing, and ``hooks`` says why.
        """
        self._attached = True
        for index, (_, call) in ROWS.items():
            if call.kind is Kind.MARKER:
                self._set_call(index)
        if self.hooks:
            for place in range(1, self._bpf[b"free_places"].max_entries):
                self._bpf[b"free_places"].push(ctypes.c_uint32(place))
        way = self._backend.way
        attach = self._bpf.attach_lsm if way is Way.LSM else self._bpf.attach_kfunc
        for hook, answer in self.hooks.items():
            if answer.loads:
                try:
                    attach(fn_name=hook.program(way).encode())
                except Exception as error:  # bcc raises plain Exception
                    self.hooks[hook] = Answer(there=True, reason=str(error))
        for tracepoint in self._backend.tracepoints:
            self._bpf.attach_raw_tracepoint(tp=tracepoint.encode(), fn_name=b"on_" + tracepoint.encode())

    def enable(self, ops: frozenset[str]) -> None:
        """Fill the table of system calls: from here on operations are captured."""
        wanted = 0
        for op in ops:
            wanted |= 1 << OPERATIONS.index(op)
        self._settings.set(Setting.OPS, wanted)
        for index, (_, call) in ROWS.items():
            # Renames are followed even if not reported: they change what is watched.
            if call.kind is not Kind.FD or call.op in ops:
                self._set_call(index)

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

    def resolve(self) -> None:
        """Answer what the programs ask about path operations (backend ``resolve``); call it often."""
        if self._resolver is not None and self._attached:
            self._resolver.serve(self._watches)

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
        self.pinned = pins.keep(replace(identity, skipped_before=self._skipped_before), found)

    def take_over(self, pinned: Pinned) -> None:
        """Go on with what an earlier ``keep`` has pinned, which is what this works on."""
        self.pinned = pinned
        self._skipped_before = pinned.identity.skipped_before

    def counters(self) -> Counters:
        """A snapshot; each figure is a sum over CPUs that may be a few events apart from the next."""
        kinds = {kind.name.lower(): int(kind) for kind in Uncovered}
        figures = counted(self._bpf, OPERATIONS, LOSS_STAGES, kinds, self._skipped_before)
        uncovered = dict(figures.uncovered)
        if self._resolver is not None and self._resolver.unresolved:
            kind = Uncovered.UNRESOLVED.name.lower()
            uncovered[kind] = uncovered.get(kind, 0) + self._resolver.unresolved
        return replace(figures, uncovered=uncovered)

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
        self._skipped_before = skipped(self._bpf)
        self.write_cursor(position, 0)

    def sync_clock(self) -> None:
        """Tell the kernel how far wall time is from boot time; call it about once a second."""
        offset = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._settings.set(Setting.WALL_OFFSET, offset & (2**64 - 1))

    def detach(self) -> None:
        """Stop capturing; what is in the ring and the counters can still be read."""
        if self._attached:
            self.resolve()
            self._attached = False
            if self.pinned is not None:
                self.pinned.unpin_links()
            for hook in list(self._bpf.lsm_fds):
                self._bpf.detach_lsm(hook)
            for hook in list(self._bpf.kfunc_entry_fds):
                self._bpf.detach_kfunc(hook)
            # sys_exit, attached last, goes first: without the others' notes it counts calls as unresolved.
            for tracepoint in reversed(self._backend.tracepoints):
                if tracepoint.encode() in self._bpf.raw_tracepoint_fds:
                    self._bpf.detach_raw_tracepoint(tp=tracepoint.encode())
            if self._resolver is not None:
                self._resolver.close()

    def close(self) -> None:
        """Detach, and give the maps and the ring back; what is pinned goes on."""
        if self.pinned is None:
            self.detach()
        self._bpf.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set_call(self, index: int) -> None:
        calls = self._bpf[b"calls"]
        number, call = ROWS[index]
        packed = call.packed(number, OPERATIONS.index(call.op))
        calls[ctypes.c_int(index)] = calls.Leaf.from_buffer_copy(packed)
