"""Loads the eBPF programs through BCC and attaches them: the only module that imports bcc."""

import ctypes
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsmon_bpf import source
from fsmon_bpf.backends import Backend
from fsmon_bpf.btf import Btf, BtfError
from fsmon_bpf.hooks import Hook, Way
from fsmon_schemas.errors import ConfigError, FatalError

from fsmon_producer import hook_matrix, preflight
from fsmon_producer.hook_probe import Answer
from fsmon_producer.programs import Capture

_log = logging.getLogger(__name__)
_PAGE = 4096
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
class Here:
    """A backend on this kernel: what the kernel lets its hooks do, and the flags that fit its text to it."""

    backend: Backend
    hooks: Mapping[Hook, Answer]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What would be loaded here: ``build`` names all of it that user space must know to go on with it."""

    on: Here
    flags: tuple[str, ...]
    ops: frozenset[str]
    ring_bytes: int

    @property
    def backend(self) -> Backend:
        """The backend taken."""
        return self.on.backend

    @property
    def build(self) -> str:
        """A digest of programs, flags and operations: two captures of one build are interchangeable."""
        told = [source.program_text(self.backend.text), *self.flags, *sorted(self.ops)]
        return hashlib.sha256("\0".join(told).encode()).hexdigest()


@dataclass(frozen=True)
class Turn:
    """For a capture that is to be pinned: its programs report nothing until pins.Pins gives them the turn."""

    pins: Path
    session: int


def plan(settings: CaptureSettings) -> Plan:
    """See what there is to load, without compiling; errors as of ``load``."""
    on = _backend_here(settings.backend)
    ring_bytes = _ring_bytes(settings.ring_bytes)
    flags = (*_CFLAGS, f"-DRING_PAGES={ring_bytes // _PAGE}", *on.flags)
    return Plan(on, flags, _wanted(settings.ops, on.backend), ring_bytes)


def load(
    settings: CaptureSettings,
    first: Callable[[Capture, frozenset[str]], None] | None = None,
    turn: Turn | None = None,
) -> Capture:
    """Compile, load and attach; capturing on return, or with ``turn`` when it is given.

    ``first`` is called with the capture and the wanted operations when all runs and nothing is watched yet.
    ConfigError: an unknown path, operation or backend. FatalError: no root, no BTF, no BCC, or the kernel
    refused a program; its text says what to do.
    """
    _must_be_there("watch", settings.watch)
    _must_be_there("exclude", settings.exclude)
    here = plan(settings)
    flags = list(here.flags)
    if turn is not None:
        flags.append(f'-DPINS="{turn.pins}"')
    bpf, hooks, maps = _compiled(here.on, flags)
    capture = Capture(bpf, here.backend, hooks, here.ring_bytes, maps=maps)
    try:
        capture.sync_clock()
        capture.attach()
        _tell_of_unseen(capture.hooks)
        capture.ignore([os.getpid(), *settings.ignore_pids])
        capture.enable(here.ops)
        if first is not None:
            first(capture, here.ops)
        if turn is not None:
            capture.await_turn(turn.session)
        capture.rewatch(settings.watch, settings.exclude)
    except BaseException:
        capture.close()
        raise
    return capture


def try_out(backend: str) -> dict[Hook, Answer]:
    """Load the programs as ``load`` does, without attaching, and say what became of each hook."""
    here = _backend_here(backend)
    bpf, hooks, _ = _compiled(here, [*_CFLAGS, "-DRING_PAGES=1", *here.flags])
    bpf.cleanup()
    return hooks


def _tell_of_unseen(hooks: Mapping[Hook, Answer]) -> None:
    """Warn of each hook that is not listened to: nothing of it is captured, and nothing could count it."""
    for hook, answer in hook_matrix.unseen(hooks).items():
        _log.warning("hook %s: %s; no %s is captured", hook.name, answer, ", ".join(hook.ops))


def _compiled(here: Here, flags: list[str]) -> tuple[Any, dict[Hook, Answer], dict[str, int]]:
    """A bcc.BPF with every program loaded and the tail-call table filled.

    With it what became of each hook, and the descriptor of each map.
    """
    backend = here.backend
    preflight.must_be_root()
    os.environ.setdefault("BCC_KERNEL_SOURCE", str(source.KERNEL_STUB))
    try:
        from bcc import BPF, lib  # noqa: PLC0415 - not needed, and often not there, for any other command
    except ImportError as error:
        raise FatalError(
            "BCC's Python module is missing: apt-get install python3-bpfcc, and make the virtual environment "
            "of /usr/bin/python3 with --system-site-packages (PyPI's bcc is an unrelated package)"
        ) from error

    class OneByOne(BPF):  # type: ignore[misc] # bcc has no types
        """BCC loads what it knows by name while it compiles, and the first refusal would be the end."""

        def _trace_autoload(self) -> None:
            pass

    with _captured_stderr() as messages:
        try:
            bpf = OneByOne(text=source.program_text(backend.text).encode(), cflags=flags)
            for tracepoint in backend.tracepoints:
                bpf.load_func(b"on_" + tracepoint.encode(), BPF.RAW_TRACEPOINT)
            for slot, name in backend.bodies.items():
                body = bpf.load_func(name.encode(), BPF.RAW_TRACEPOINT)
                bpf[b"bodies"][ctypes.c_int(slot)] = ctypes.c_int(body.fd)
        except Exception as error:  # bcc raises plain Exception
            last = " | ".join(messages()[-6:])
            raise FatalError(
                f"the kernel refused the eBPF programs ({error}): {last or 'no message'}. "
                "Run `fsmon-producer check` to see what this host lacks"
            ) from error
    kind = BPF.LSM if backend.way is Way.LSM else BPF.TRACING
    loaded = {hook: _loaded(bpf, hook, backend.way, kind, answer) for hook, answer in here.hooks.items()}
    return bpf, loaded, _map_descriptors(lib, bpf.module)


def _map_descriptors(lib: Any, module: int) -> dict[str, int]:
    """Not by bpf[name]: BCC has no tables for task storage."""
    # bcc.libbcc declares what bcc uses itself; without a declaration pointers are cut to 32 bits.
    lib.bpf_table_name.restype = ctypes.c_char_p
    lib.bpf_table_name.argtypes = lib.bpf_table_fd_id.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    lib.bpf_num_tables.argtypes = [ctypes.c_void_p]
    tables = range(lib.bpf_num_tables(module))
    return {
        lib.bpf_table_name(module, table).decode(): lib.bpf_table_fd_id(module, table) for table in tables
    }


def _loaded(bpf: Any, hook: Hook, way: Way, kind: int, answer: Answer) -> Answer:
    """The answer still holds if the hook's real program loads; else it says why not."""
    if not answer.loads:
        return answer
    with _captured_stderr() as messages:
        try:
            bpf.load_func(hook.program(way).encode(), kind)
        except Exception as error:  # bcc raises plain Exception
            return Answer(there=True, reason=" | ".join([str(error), *messages()[-2:]]))
    return answer


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


def _possible_cpus() -> int:
    """CPUs the kernel may ever number: what bpf_get_smp_processor_id() can return, plus one."""
    last = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")[-1]
    return int(last.split("-")[-1]) + 1


def _backend_here(name: str) -> Here:
    try:
        btf = Btf.of_kernel()
        chosen = preflight.choose_backend(name, btf)
        hooks = hook_matrix.answers(chosen, btf)
        reason = preflight.why(name, chosen, btf)
        _log.info("backend %s (%s) %s", chosen.name, reason, hook_matrix.summary(hooks))
        backend = chosen.on(btf)
        d_path = frozenset(hook.name for hook, answer in hooks.items() if answer.d_path)
        return Here(backend, hooks, backend.flags(btf, _possible_cpus(), d_path))
    except OSError as error:
        raise FatalError(
            f"this kernel shows no BTF ({error.filename}): boot one built with CONFIG_DEBUG_INFO_BTF=y, "
            "as Debian's, Ubuntu's and RHEL's are"
        ) from error
    except BtfError as error:
        raise FatalError(f"{error}: this kernel's structures are not known to fsmon") from error


def _must_be_there(option: str, paths: tuple[Path, ...]) -> None:
    """Before compiling, which takes seconds."""
    for path in paths:
        try:
            path.stat()
        except OSError as error:
            raise ConfigError(f"--{option} {path}: {error.strerror}; give a path that exists") from error


def _wanted(ops: frozenset[str], backend: Backend) -> frozenset[str]:
    known = backend.operations
    if unknown := sorted(ops - set(known)):
        raise ConfigError(
            f"unknown operation {', '.join(unknown)}; known to backend {backend.name}: {', '.join(known)}"
        )
    return ops or frozenset(known)


def _ring_bytes(wanted: int) -> int:
    """The next power of two, as the kernel asks for, and at least a page."""
    if not _PAGE <= wanted <= 1 << 31:
        raise ConfigError(f"a ring of {wanted} bytes: give 4K to 2G")
    return 1 << (wanted - 1).bit_length()
