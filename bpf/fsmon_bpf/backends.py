"""The backends: which programs each has, and what is attached where.

A backend differs in its attach points, in where a path comes from and in what it can know; the operations'
bodies, the filter, the schema and the counters are shared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from fsmon_bpf.btf import Btf
from fsmon_bpf.layout import Layout
from fsmon_bpf.syscalls import Kind


@dataclass(frozen=True)
class Backend:
    """One way of seeing operations. ``bodies`` are tail-called: name to slot in the map of that name."""

    name: str
    tracepoints: tuple[str, ...]
    bodies: Mapping[str, int] = field(default_factory=dict)
    hooks: tuple[str, ...] = ()
    optional_hooks: tuple[str, ...] = ()
    optional_tracepoints: tuple[str, ...] = ()

    def missing(self, btf: Btf) -> list[str]:
        """Attach points that this kernel does not have, by name."""
        hooks = [hook for hook in self.hooks if btf.parameters_of(f"bpf_lsm_{hook}") is None]
        return hooks + [name for name in self.tracepoints if not btf.has_tracepoint(name)]

    def on(self, btf: Btf) -> Self:
        """The backend with those optional tracepoints that the kernel has; sys_exit stays the last."""
        there = filter(btf.has_tracepoint, self.optional_tracepoints)
        return replace(self, tracepoints=(*there, *self.tracepoints), optional_tracepoints=())

    def flags(self, btf: Btf, cpus: int) -> tuple[str, ...]:
        """Compiler flags for this kernel; LayoutError names a member that it lacks."""
        return (f"-DCPUS={cpus}", *Layout.of(btf).flags, *self._hook_flags(btf))

    def _hook_flags(self, btf: Btf) -> Iterator[str]:
        for hook in (*self.hooks, *self.optional_hooks):
            # bpf_lsm_x is what a program on hook x replaces (kernel/bpf/bpf_lsm.c).
            parameters = btf.parameters_of(f"bpf_lsm_{hook}")
            if parameters is not None:
                yield f"-DHOOK_{hook}"
                yield from (f"-DARG_{hook}_{name}={index}" for index, name in enumerate(parameters))


TRACEPOINT = Backend(
    "tracepoint",
    (
        "ctime_ns_xchg",
        "ctime_xchg_skip",
        "inode_set_ctime_to_ts",
        "sched_process_exec",
        "sched_process_exit",
        "signal_deliver",
        "sys_exit",
    ),
    {
        "body_finish": 0,
        "body_fd": Kind.FD,
        "body_open": Kind.OPEN,
        "body_pair": Kind.PAIR,
        "body_path": Kind.PATH,
        "body_remove": Kind.REMOVE,
        "body_make": Kind.MAKE,
        "body_link": Kind.LINK,
        "body_rename": Kind.RENAME,
        "body_control": Kind.CONTROL,
    },
)
LSM = Backend(
    "lsm",
    ("sched_process_exit", "sched_switch", "signal_deliver", "sys_exit"),
    {"body_finish": 0, "body_hooked": 1},
    hooks=(
        "file_open", "file_permission", "mmap_file", "bprm_check_security", "path_unlink", "path_rmdir",
        "path_mkdir", "path_mknod", "path_symlink", "path_link", "path_rename", "path_truncate", "path_chmod",
        "path_chown", "inode_setattr", "inode_setxattr", "inode_removexattr", "file_ioctl",
    ),
    optional_hooks=("file_truncate", "inode_set_acl", "inode_remove_acl",  # since 6.2
                    "file_ioctl_compat", "inode_file_setattr"),  # 6.8, 6.17
    optional_tracepoints=("io_uring_submit_sqe", "io_uring_submit_req", "io_uring_complete"),
)  # fmt: skip
BACKENDS = {backend.name: backend for backend in (LSM, TRACEPOINT)}
