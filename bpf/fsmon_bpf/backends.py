"""The backends: which programs each has, and what is attached where.

A backend differs in its attach points, in where a path comes from and in what it can know; the operations'
bodies, the filter, the schema and the counters are shared.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Self

from fsmon_bpf.btf import Btf
from fsmon_bpf.hooks import HOOKS, Hook, Way
from fsmon_bpf.layout import Layout
from fsmon_bpf.syscalls import Kind, operations


@dataclass(frozen=True)
class Backend:
    """One way of seeing operations. ``bodies`` are tail-called: slot in the map of that name to program."""

    name: str
    text: str  # the C file, without .bpf.c
    tracepoints: tuple[str, ...]
    bodies: Mapping[int, str] = field(default_factory=dict)
    hooks: tuple[Hook, ...] = ()
    way: Way = Way.LSM
    optional_tracepoints: tuple[str, ...] = ()
    asks: bool = False  # user space has to find out what paths mean

    @property
    def operations(self) -> tuple[str, ...]:
        """What it can report."""
        return tuple(dict.fromkeys(op for hook in self.hooks for op in hook.ops)) or operations()

    def missing(self, btf: Btf) -> list[str]:
        """What this kernel lacks and the backend cannot do without, by name.

        A hook that is not there is one operation less, a tracepoint is the end of every call.
        """
        lacking = [name for name in self.tracepoints if not btf.has_tracepoint(name)]
        if self.hooks and not self.hooks_of(btf):
            lacking.append(f"function {self.hooks[0].target(self.way)}")
        return lacking

    def on(self, btf: Btf) -> Self:
        """The backend with those optional tracepoints that the kernel has; sys_exit stays the last."""
        there = filter(btf.has_tracepoint, self.optional_tracepoints)
        return replace(self, tracepoints=(*there, *self.tracepoints), optional_tracepoints=())

    def hooks_of(self, btf: Btf) -> tuple[Hook, ...]:
        """The hooks that this kernel has."""
        return tuple(hook for hook in self.hooks if hook.parameters(self.way, btf) is not None)

    def flags(self, btf: Btf, cpus: int, d_path: AbstractSet[str] = frozenset()) -> tuple[str, ...]:
        """Compiler flags for this kernel; ``d_path`` names the hooks that may call bpf_d_path.

        LayoutError names a member that the kernel lacks.
        """
        return (f"-DCPUS={cpus}", *Layout.of(btf).flags, *self._hook_flags(btf, d_path))

    def _hook_flags(self, btf: Btf, d_path: AbstractSet[str]) -> Iterator[str]:
        for hook in self.hooks:
            yield f"-DPROGRAM_{hook.name}={hook.program(self.way)}"
            yield f"-DDPATH_{hook.name}={int(hook.name in d_path)}"
        for hook in self.hooks_of(btf):
            yield f"-DHAS_HOOK_{hook.name}"
            for index, name in enumerate(hook.parameters(self.way, btf) or ()):
                yield f"-DARG_{hook.name}_{name}={index}"


_ENDS = ("sched_process_exec", "sched_process_exit", "signal_deliver", "sys_exit")
_OPEN_FILES = {
    0: "body_finish",
    Kind.FD: "body_fd",
    Kind.OPEN: "body_open",
    Kind.PAIR: "body_pair",
    Kind.CONTROL: "body_control",
}
TRACEPOINT = Backend(
    "tracepoint",
    "tracepoint",
    ("ctime_ns_xchg", "ctime_xchg_skip", "inode_set_ctime_to_ts", *_ENDS),
    {
        **_OPEN_FILES,
        Kind.PATH: "body_path",
        Kind.REMOVE: "body_remove",
        Kind.MAKE: "body_make",
        Kind.LINK: "body_link",
        Kind.RENAME: "body_rename",
    },
)
_PATH_KINDS = (Kind.PATH, Kind.REMOVE, Kind.MAKE, Kind.LINK, Kind.RENAME)
_ASK = 15  # BODY_ASK in resolve.bpf.c
RESOLVE = Backend(
    "resolve",
    "resolve",
    _ENDS,
    {**_OPEN_FILES, **dict.fromkeys(_PATH_KINDS, "body_named"), _ASK: "body_ask"},
    asks=True,
)
_HOOKED_TRACEPOINTS = ("sched_process_exit", "sched_switch", "signal_deliver", "sys_exit")
_IO_URING = ("io_uring_submit_sqe", "io_uring_submit_req", "io_uring_complete")  # the first until 6.3
_HOOKED_BODIES = {0: "body_finish", 1: "body_hooked"}
LSM = Backend("lsm", "lsm", _HOOKED_TRACEPOINTS, _HOOKED_BODIES, HOOKS, Way.LSM, _IO_URING)
# The last resort: preemptible kernels skip its programs now and then, which is counted.
FENTRY = Backend("fentry", "lsm", _HOOKED_TRACEPOINTS, _HOOKED_BODIES, HOOKS, Way.FENTRY, _IO_URING)
BACKENDS = {backend.name: backend for backend in (LSM, TRACEPOINT, FENTRY, RESOLVE)}
