"""What a host needs for capture, and which of it this host lacks."""

import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fsmon_bpf import source
from fsmon_bpf.btf import VMLINUX, Btf, BtfError
from fsmon_bpf.layout import Layout

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
    bcc = importlib.util.find_spec("bcc")
    yield Finding(
        "BCC",
        bcc is not None,
        str(Path(bcc.origin).parent) if bcc is not None and bcc.origin else "not importable",
        "apt-get install python3-bpfcc; make the venv of /usr/bin/python3 with --system-site-packages",
    )
    yield _layout()
    yield _headers()


def _layout() -> Finding:
    remedy = "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's, Ubuntu's and RHEL's are"
    try:
        offsets = Layout.of(Btf.of_kernel()).flags
    except OSError:
        return Finding("BTF", ok=False, detail=f"{VMLINUX} is not readable", remedy=remedy)
    except BtfError as error:
        return Finding(
            "BTF", ok=False, detail=str(error), remedy="this kernel's structures are not known to fsmon"
        )
    return Finding("BTF", ok=True, detail=f"{len(offsets)} offsets found")


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
