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
from collections.abc import Callable
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
LAST_LINES = 25


class _Unattached(BPF):  # type: ignore[misc] # bcc has no types
    """BCC loads what it knows by name while it compiles, and the first refusal would hide the others."""

    def _trace_autoload(self) -> None:
        pass


def main() -> int:
    path, *defines = sys.argv[1:]
    os.environ.setdefault("BCC_KERNEL_SOURCE", str(source.KERNEL_STUB))
    flags = ["-I/usr/include", "-I/usr/include/x86_64-linux-gnu", "-Wno-everything", *defines]
    try:
        flags += Layout.of(Btf.of_kernel()).flags
    except FsmonError as error:
        print(f"no layout of structures: {error}", flush=True)
    text = "\n".join(source._flatten(Path(path).resolve()))
    start = time.monotonic()
    bpf, messages = _listening(lambda: _Unattached(text=text.encode(), cflags=flags))
    print(f"compiled in {time.monotonic() - start:.1f} s", flush=True)
    if isinstance(bpf, Exception):
        print(f"REFUSED by the compiler: {bpf}", *messages[-LAST_LINES:], sep="\n  ")
        return 1
    refused = 0
    for index in range(lib.bpf_num_functions(bpf.module)):
        name = lib.bpf_function_name(bpf.module, index)
        kind = TYPES.get(name.decode().partition("__")[0], BPF.RAW_TRACEPOINT)
        start = time.monotonic()
        function, messages = _listening(lambda name=name, kind=kind: bpf.load_func(name, kind))  # type: ignore[misc]
        seconds = time.monotonic() - start
        if isinstance(function, Exception):
            refused += 1
            print(
                f"REFUSED {name.decode()} ({seconds:.1f} s): {function}", *messages[-LAST_LINES:], sep="\n  "
            )
        else:
            print(
                f"loaded  {name.decode()} ({seconds:.1f} s): {_verified(function.fd)} instructions verified"
            )
        sys.stdout.flush()
    return refused


def _verified(fd: int) -> str:
    """What the verifier walked through: proc(5), fdinfo of a program, since Linux 5.16."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("verified_insns"))


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
