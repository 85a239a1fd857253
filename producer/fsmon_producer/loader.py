"""Loads the eBPF programs through BCC and attaches them: the only module that imports bcc."""

import ctypes
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fsmon_bpf import avro_encoder, source
from fsmon_bpf.btf import Btf, BtfError
from fsmon_bpf.layout import Layout
from fsmon_bpf.syscalls import CALLS, HOOKED_OPS, Kind, Uncovered, operations
from fsmon_schemas.errors import ConfigError, FatalError

_PAGE = 4096
_OPERATIONS = tuple(avro_encoder.enums()["Operation"])
# enum stage in maps.h; the first counts what went well.
_LOSS_STAGES = ("ring_full", "oversize", "storage")
# enum setting in maps.h
_WALL_OFFSET, _OPS, _MARKER_PID = 0, 2, 3
_WATCH_INCLUDE, _WATCH_EXCLUDE = 1, 2
_CFLAGS = ("-I/usr/include", "-I/usr/include/x86_64-linux-gnu", "-Wno-everything")


@dataclass(frozen=True)
class CaptureSettings:
    """What to capture: no ``ops`` means every operation, ``ring_bytes`` is rounded up to a power of two."""

    watch: tuple[Path, ...]
    exclude: tuple[Path, ...] = ()
    ops: frozenset[str] = frozenset()
    ignore_pids: tuple[int, ...] = ()
    ring_bytes: int = 64 << 20
    backend: str = "auto"


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted since the programs were loaded; every figure only grows."""

    emitted: Mapping[str, int]  # op -> events put into the ring
    lost: Mapping[str, Mapping[str, int]]  # stage -> op -> events wanted and lost there
    uncovered: Mapping[str, int]  # kind -> system calls this backend cannot see into


class Capture:
    """Attached programs and their maps. The ring is read by fsmon_producer.ring through ``ring_fd``."""

    def __init__(self, bpf: Any, backend: str, ring_bytes: int) -> None:
        self._bpf = bpf
        self.backend = backend
        self.ring_bytes = ring_bytes
        self.ring_fd: int = bpf[b"ring"].map_fd
        self._attached = False

    def attach(self, tracepoints: tuple[str, ...]) -> None:
        """Attach a program to each raw tracepoint; nothing is captured before ``enable``."""
        self._attached = True
        for tracepoint in tracepoints:
            self._bpf.attach_raw_tracepoint(tp=tracepoint.encode(), fn_name=b"on_" + tracepoint.encode())

    def enable(self, ops: frozenset[str]) -> None:
        """Fill the table of system calls: from here on operations are captured."""
        wanted = 0
        for op in ops:
            wanted |= 1 << _OPERATIONS.index(op)
        self._set(_OPS, wanted)
        for number, call in CALLS.items():
            # Renames are followed even if not reported: they change what is watched.
            if call.kind is not Kind.FD or call.op in ops:
                self._set_call(number)

    def watch(self, path: Path, *, exclude: bool = False) -> None:
        """Include (or exclude) a file, or a directory and all below; ConfigError if it is not there."""
        key = self._inode_key(path)
        self._bpf[b"watches"][key] = ctypes.c_uint32(_WATCH_EXCLUDE if exclude else _WATCH_INCLUDE)

    def ignore(self, pid: int) -> None:
        """Report nothing that this process does."""
        self._bpf[b"ignored"][ctypes.c_uint32(pid)] = ctypes.c_uint8(1)

    def counters(self) -> Counters:
        """A snapshot; each figure is a sum over CPUs that may be a few events apart from the next."""
        outcomes = [_sum(values) for values in self._bpf[b"outcomes"].values()]
        stages = [
            outcomes[start : start + len(_OPERATIONS)] for start in range(0, len(outcomes), len(_OPERATIONS))
        ]
        uncovered = [_sum(values) for values in self._bpf[b"uncovered"].values()]
        return Counters(
            emitted=_named(stages[0]),
            lost={stage: _named(figures) for stage, figures in zip(_LOSS_STAGES, stages[1:], strict=True)},
            uncovered={kind.name.lower(): uncovered[kind] for kind in Uncovered if uncovered[kind]},
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

    def sync_clock(self) -> None:
        """Tell the kernel how far wall time is from boot time; call it about once a second."""
        offset = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._set(_WALL_OFFSET, offset & (2**64 - 1))

    def detach(self) -> None:
        """Stop capturing; what is in the ring and the counters can still be read."""
        if self._attached:
            self._attached = False
            for tracepoint in source.TRACEPOINTS:
                if tracepoint.encode() in self._bpf.raw_tracepoint_fds:
                    self._bpf.detach_raw_tracepoint(tp=tracepoint.encode())

    def close(self) -> None:
        """Detach, and give the maps and the ring back."""
        self.detach()
        self._bpf.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set(self, setting: int, value: int) -> None:
        self._bpf[b"settings"][ctypes.c_int(setting)] = ctypes.c_uint64(value)

    def _set_call(self, number: int) -> None:
        calls = self._bpf[b"calls"]
        op = _OPERATIONS.index(CALLS[number].op)
        calls[ctypes.c_int(number)] = calls.Leaf.from_buffer_copy(CALLS[number].packed(op))

    def _inode_key(self, path: Path) -> Any:
        """The key the kernel itself uses for the file: stat's st_dev differs on overlayfs and btrfs.

        posix_fadvise is the marker: the program sees our pid make it and notes which inode it was for.
        """
        marker_call = next(number for number, call in CALLS.items() if call.kind is Kind.MARKER)
        self._set(_MARKER_PID, os.getpid())
        self._set_call(marker_call)
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"cannot watch {path}: {error.strerror}; give a path that exists") from error
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_NORMAL)
        except OSError:
            pass  # EBADF, as O_PATH descriptors give: the call was seen all the same
        finally:
            os.close(fd)
        found = self._bpf[b"marker"][ctypes.c_int(0)]
        if not found.ino:
            raise FatalError(
                f"the kernel did not name the inode of {path}: the sys_exit program does not run"
            )
        watches = self._bpf[b"watches"]
        return watches.Key.from_buffer_copy(bytes(found))


def load(settings: CaptureSettings) -> Capture:
    """Compile, load and attach; capturing on return.

    ConfigError: an unknown path, operation or backend. FatalError: no root, no BTF, no BCC, or the kernel
    refused a program; its text says what to do.
    """
    ops = _wanted(settings.ops)
    backend = _backend(settings.backend)
    ring_bytes = _ring_bytes(settings.ring_bytes)
    flags = [*_CFLAGS, f"-DRING_PAGES={ring_bytes // _PAGE}", *_layout().flags]
    capture = Capture(_compiled(source.program_text(backend), flags), backend, ring_bytes)
    try:
        capture.sync_clock()
        capture.attach(source.TRACEPOINTS)
        capture.ignore(os.getpid())
        for pid in settings.ignore_pids:
            capture.ignore(pid)
        for path in settings.exclude:
            capture.watch(path, exclude=True)
        for path in settings.watch:
            capture.watch(path)
        capture.enable(ops)
    except BaseException:
        capture.close()
        raise
    return capture


def _compiled(text: str, flags: list[str]) -> Any:
    """A bcc.BPF with every program loaded and the tail-call table filled."""
    if os.geteuid() != 0:
        raise FatalError(
            "loading eBPF programs needs root (or CAP_BPF, CAP_PERFMON, CAP_SYS_RESOURCE): use sudo"
        )
    os.environ.setdefault("BCC_KERNEL_SOURCE", str(source.KERNEL_STUB))
    try:
        from bcc import BPF  # noqa: PLC0415 - not needed, and often not there, for any other command
    except ImportError as error:
        raise FatalError(
            "BCC's Python module is missing: apt-get install python3-bpfcc, and make the virtual environment "
            "of /usr/bin/python3 with --system-site-packages (PyPI's bcc is an unrelated package)"
        ) from error
    with _captured_stderr() as messages:
        try:
            bpf = BPF(text=text.encode(), cflags=flags)
            for tracepoint in source.TRACEPOINTS:
                bpf.load_func(b"on_" + tracepoint.encode(), BPF.RAW_TRACEPOINT)
            bodies = bpf[b"bodies"]
            for name, slot in source.BODIES.items():
                body = bpf.load_func(name.encode(), BPF.RAW_TRACEPOINT)
                bodies[ctypes.c_int(slot)] = ctypes.c_int(body.fd)
        except Exception as error:  # bcc raises plain Exception
            last = " | ".join(messages()[-6:])
            raise FatalError(
                f"the kernel refused the eBPF programs ({error}): {last or 'no message'}. "
                "Run `fsmon-producer check` to see what this host lacks"
            ) from error
    return bpf


@contextmanager
def _captured_stderr() -> Iterator[Any]:
    """BCC's compiler and the verifier write to descriptor 2: keep it for the error's text."""
    with tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)

        def messages() -> list[str]:
            sink.seek(0)
            return [
                line.strip() for line in sink.read().decode(errors="replace").splitlines() if line.strip()
            ]

        try:
            yield messages
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _layout() -> Layout:
    try:
        return Layout.of(Btf.of_kernel())
    except OSError as error:
        raise FatalError(
            f"this kernel shows no BTF ({error.filename}): boot one built with CONFIG_DEBUG_INFO_BTF=y, "
            "as Debian's, Ubuntu's and RHEL's are"
        ) from error
    except BtfError as error:
        raise FatalError(f"{error}: this kernel's structures are not known to fsmon") from error


def _wanted(ops: frozenset[str]) -> frozenset[str]:
    known = operations()
    if unknown := sorted(ops - set(known)):
        raise ConfigError(f"unknown operation {', '.join(unknown)}; known: {', '.join(known)}")
    return ops or frozenset((*known, *HOOKED_OPS))


def _backend(name: str) -> str:
    if name == "auto":
        return source.BACKENDS[0]
    if name not in source.BACKENDS:
        raise ConfigError(f"unknown backend {name}; known: auto, {', '.join(source.BACKENDS)}")
    return name


def _ring_bytes(wanted: int) -> int:
    """The next power of two, as the kernel asks for, and at least a page."""
    if not _PAGE <= wanted <= 1 << 31:
        raise ConfigError(f"a ring of {wanted} bytes: give 4K to 2G")
    return 1 << (wanted - 1).bit_length()


def _sum(values: Any) -> int:
    return int(sum(value.value if hasattr(value, "value") else value for value in values))


def _named(figures: list[int]) -> dict[str, int]:
    return {op: figure for op, figure in zip(_OPERATIONS, figures, strict=True) if figure}
