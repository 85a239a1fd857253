"""``python -m vm.verify FILE [-DNAME=VALUE]…``: what BCC's compiler and the verifier say of one C text.

Local includes are flattened as fsmon_bpf.source does, and the layout of this kernel's structures is
defined as the loader does. A function's type follows from its name: ``lsm__…``, ``kfunc__…`` and
``kretfunc__…`` (what LSM_PROBE, KFUNC_PROBE and KRETFUNC_PROBE make), ``kprobe__…``, ``tracepoint__…``, else
a raw tracepoint's. Nothing is attached. Exit status: the number of functions refused.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcc import BPF
from bcc.libbcc import lib
from fsmon_bpf import source
from fsmon_bpf.btf import Btf
from fsmon_bpf.layout import Layout
from fsmon_schemas.errors import FsmonError

TYPES = {
    "lsm": BPF.LSM,
    "kfunc": BPF.TRACING,
    "kretfunc": BPF.TRACING,
    "kprobe": BPF.KPROBE,
    "tracepoint": BPF.TRACEPOINT,
}
FLAGS = ("-I/usr/include", "-I/usr/include/x86_64-linux-gnu", "-Wno-everything")
LAST_LINES = 25


@dataclass(frozen=True)
class Verdict:
    """What became of one function; ``refusal`` is empty where the kernel took it."""

    name: str
    seconds: float
    instructions: int  # that the verifier walked through
    refusal: str

    def __str__(self) -> str:
        if self.refusal:
            return f"REFUSED {self.name} ({self.seconds:.1f} s): {self.refusal}"
        return f"loaded  {self.name} ({self.seconds:.1f} s): {self.instructions} instructions verified"


class RefusedError(Exception):
    """The compiler refused the text."""


class _Unattached(BPF):  # type: ignore[misc] # bcc has no types
    """BCC loads what it knows by name while it compiles, and the first refusal would hide the others."""

    def _trace_autoload(self) -> None:
        pass


def verdicts(text: str, flags: Sequence[str]) -> Iterator[Verdict]:
    """Each function of the C text, loaded as what its name says; RefusedError where it does not compile."""
    os.environ.setdefault("BCC_KERNEL_SOURCE", str(source.KERNEL_STUB))
    bpf, messages = _listening(lambda: _Unattached(text=text.encode(), cflags=[*FLAGS, *flags]))
    if isinstance(bpf, Exception):
        raise RefusedError("\n  ".join([str(bpf), *messages[-LAST_LINES:]]))
    for index in range(lib.bpf_num_functions(bpf.module)):
        name = lib.bpf_function_name(bpf.module, index)
        kind = TYPES.get(name.decode().partition("__")[0], BPF.RAW_TRACEPOINT)
        start = time.monotonic()
        function, messages = _listening(lambda name=name, kind=kind: bpf.load_func(name, kind))  # type: ignore[misc]
        seconds = time.monotonic() - start
        if isinstance(function, Exception):
            refusal = "\n  ".join([str(function), *messages[-LAST_LINES:]])
            yield Verdict(name.decode(), seconds, 0, refusal)
        else:
            yield Verdict(name.decode(), seconds, instructions(function.fd), "")
    bpf.cleanup()


def main() -> int:
    path, *flags = sys.argv[1:]
    try:
        flags += Layout.of(Btf.of_kernel()).flags
    except FsmonError as error:
        print(f"no layout of structures: {error}", flush=True)
    refused = 0
    try:
        for verdict in verdicts("\n".join(source._flatten(Path(path).resolve())), flags):
            print(verdict, flush=True)
            refused += bool(verdict.refusal)
    except RefusedError as error:
        print(f"REFUSED by the compiler: {error}")
        return 1
    return refused


def instructions(fd: int) -> int:
    """What the verifier walked through: proc(5), fdinfo of a program, since Linux 5.16."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("verified_insns"))


def _listening(call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """The call's result, or the exception it raised, and what it wrote to descriptor 2."""
    with tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            result = call()
        except Exception as error:  # bcc raises plain Exception
            result = error
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        sink.seek(0)
        return result, sink.read().decode(errors="replace").splitlines()


if __name__ == "__main__":
    sys.exit(main())
