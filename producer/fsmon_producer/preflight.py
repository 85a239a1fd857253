"""What a host needs for capture, and which of it this host lacks."""

import importlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fsmon_bpf import source
from fsmon_bpf.backends import BACKENDS, FENTRY, LSM, RESOLVE, TRACEPOINT, Backend
from fsmon_bpf.btf import VMLINUX, Btf, BtfError
from fsmon_bpf.layout import Layout
from fsmon_schemas.errors import ConfigError, FatalError

from fsmon_producer import hook_matrix

_LSMS = Path("/sys/kernel/security/lsm")
_BPF_SYSCALL_KNOB = Path("/proc/sys/kernel/unprivileged_bpf_disabled")


@dataclass(frozen=True)
class Finding:
    """One requirement: ``remedy`` says what to do where it is not met."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def findings() -> list[Finding]:
    """Every requirement, met or not, in the order in which to mend them. Needs no root and no BCC."""
    return list(_findings())


def _findings() -> Iterator[Finding]:
    machine = platform.machine()
    yield Finding(
        "architecture",
        machine == "x86_64",
        machine,
        "fsmon reads x86-64 system calls only; other hosts come later",
    )
    yield Finding("kernel", ok=True, detail=platform.release())
    yield Finding(
        "privileges",
        os.geteuid() == 0,
        "root" if os.geteuid() == 0 else f"uid {os.geteuid()}",
        "run as root: loading eBPF needs CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE",
    )
    yield Finding(
        "eBPF",
        _BPF_SYSCALL_KNOB.exists(),
        "bpf(2) is there" if _BPF_SYSCALL_KNOB.exists() else "no bpf(2)",
        "boot a kernel with CONFIG_BPF_SYSCALL=y",
    )
    bcc, why = _bcc()
    yield Finding(
        "BCC",
        bcc,
        why,
        "apt-get install python3-bpfcc; make the venv of /usr/bin/python3 with --system-site-packages",
    )
    yield _layout()
    yield from _backends()
    yield _headers()


def must_be_root() -> None:
    """FatalError where this process may not load eBPF programs."""
    if os.geteuid() != 0:
        raise FatalError(
            "loading eBPF programs needs root (or CAP_BPF, CAP_PERFMON, CAP_SYS_RESOURCE): use sudo"
        )


def obstacle(backend: Backend, btf: Btf) -> str:
    """Why the backend cannot capture on this kernel; empty where it can."""
    if backend is LSM and not bpf_lsm_is_active():
        # Its programs would attach without an error and never run.
        return "BPF is not among the active LSMs (/sys/kernel/security/lsm): boot with lsm=…,bpf"
    if missing := backend.missing(btf):
        return f"this kernel has no {', '.join(missing)}"
    if backend.hooks and os.geteuid() == 0:
        refused = {answer.reason for answer in hook_matrix.answers(backend, btf).values() if answer.there}
        if "" not in refused:
            return f"this kernel refuses its programs ({', '.join(sorted(refused))})"
    return ""


def why(name: str, backend: Backend, btf: Btf) -> str:
    """Why this backend was taken when that name was asked for."""
    if name == backend.name:
        return "asked for"
    before = list(BACKENDS.values())[: list(BACKENDS).index(backend.name)]
    if name != "auto":
        before = [BACKENDS[name]]
    told = [f"{other.name}: {obstacle(other, btf)}" for other in before]
    if backend is FENTRY:
        told.append("a preemptible kernel SKIPS programs of fentry now and then: counted as lost, recursion")
    if backend is RESOLVE:
        told.append("what paths MEANT is found out after the operation, or counted: uncovered, unresolved")
    return "; ".join(told) or "the best that there is"


def choose_backend(name: str, btf: Btf) -> Backend:
    """The backend of that name, or for "auto" the best that this kernel has.

    ConfigError for an unknown name, FatalError where the kernel lacks what is asked for.
    """
    if name != "auto" and name not in BACKENDS:
        raise ConfigError(f"unknown backend {name}; known: auto, {', '.join(BACKENDS)}")
    asked = list(BACKENDS.values()) if name == "auto" else [BACKENDS[name]]
    if name == TRACEPOINT.name:
        asked.append(RESOLVE)  # the same, as far as older kernels let it
    obstacles = {}
    for backend in asked:
        obstacles[backend.name] = obstacle(backend, btf)
        if not obstacles[backend.name]:
            return backend
    told = "; ".join(f"{name}: {why}" for name, why in obstacles.items())
    raise FatalError(f"no backend can capture here ({told})")


def bpf_lsm_is_active() -> bool:
    """Whether the kernel calls BPF programs on LSM hooks: many kernels have them built in and do not."""
    return "bpf" in _active_lsms().split(",")


def _active_lsms() -> str:
    try:
        return _LSMS.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # securityfs is mounted by every init; without it nothing can be said for BPF


def _layout() -> Finding:
    remedy = "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's, Ubuntu's and RHEL's are"
    try:
        offsets = Layout.of(Btf.of_kernel()).offsets
    except OSError:
        return Finding("BTF", ok=False, detail=f"{VMLINUX} is not readable", remedy=remedy)
    except BtfError as error:
        return Finding(
            "BTF", ok=False, detail=str(error), remedy="this kernel's structures are not known to fsmon"
        )
    return Finding("BTF", ok=True, detail=f"{len(offsets)} offsets found")


def _bcc() -> tuple[bool, str]:
    """Whether BCC's BPF can be imported, and from where or why not."""
    try:
        found = importlib.import_module("bcc")
        return hasattr(found, "BPF"), f"{found.__file__}" + (
            "" if hasattr(found, "BPF") else " is another package"
        )
    except ImportError as error:
        return False, f"not importable: {error}"


def _backends() -> Iterator[Finding]:
    try:
        btf = Btf.of_kernel()
        obstacles = {backend.name: obstacle(backend, btf) for backend in BACKENDS.values()}
    except (OSError, BtfError):
        return  # told above
    for name, why in obstacles.items():
        # One is enough: the other's obstacle is for information.
        yield Finding(
            f"backend {name}", not why or not all(obstacles.values()), why or "can capture here", why
        )


def _headers() -> Finding:
    header = Path("/usr/include/linux/types.h")
    stub = source.KERNEL_STUB / "include" / "linux" / "types.h"
    return Finding(
        "C headers",
        header.exists() and stub.exists(),
        "kernel headers are not needed; linux-libc-dev is there"
        if header.exists()
        else f"{header} is missing",
        "apt-get install linux-libc-dev",
    )
