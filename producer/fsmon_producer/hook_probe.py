"""Asks the running kernel, hook by hook, what it lets a program do there: the version does not say.

Each question is a program of a dozen instructions, loaded and let go: nothing is compiled or attached.
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fsmon_bpf.btf import Btf
from fsmon_bpf.hooks import Hook, Way
from fsmon_bpf.layout import Layout

# include/uapi/linux/bpf.h
_SYS_BPF, _PROG_LOAD = 321, 5
_TYPES = {Way.LSM: (29, 27), Way.FENTRY: (26, 24)}  # program type, expected_attach_type
_D_PATH = 147
_LOAD, _STORE, _ADD, _MOVE, _SET, _CALL, _EXIT = 0x79, 0x7A, 0x07, 0xBF, 0xB7, 0x85, 0x95
_LOG_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Answer:
    """What the kernel says to a program on a hook."""

    there: bool  # the kernel has the hook
    loads: bool = False
    d_path: bool = False  # bpf_d_path may be called
    reason: str = ""  # why it does not load, in the kernel's words

    def __str__(self) -> str:
        if not self.there:
            return "missing"
        if not self.loads:
            return f"rejected: {self.reason}"
        return "d_path" if self.d_path else "walk"


def ask(hook: Hook, way: Way, btf: Btf, layout: Layout) -> Answer:
    """What the kernel lets a program on this hook do. Needs root; what is refused is in the answer."""
    parameters = hook.parameters(way, btf)
    target = btf.function_id(hook.target(way))
    if parameters is None or target is None:
        return Answer(there=False)
    refused = _refused(b"".join(_end()), way, target)
    if refused:
        return Answer(there=True, reason=refused)
    takes_path = bool(hook.path) and not _refused(b"".join(_d_path(hook, parameters, layout)), way, target)
    return Answer(there=True, loads=True, d_path=takes_path)


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One struct bpf_insn."""
    return struct.pack("<BBhi", code, to | source << 4, offset, value)


def _end() -> Iterator[bytes]:
    yield _instruction(_SET, to=0)
    yield _instruction(_EXIT)


def _d_path(hook: Hook, parameters: list[str], layout: Layout) -> Iterator[bytes]:
    """r1 = the struct path, r2 = 8 bytes of the stack, r3 = 8; bpf_d_path."""
    first, *steps = hook.path
    yield _instruction(_LOAD, to=1, source=1, offset=8 * parameters.index(first))
    for step in steps:
        offset = layout.offsets[step[1:]]
        if step[0] == "*":
            yield _instruction(_LOAD, to=1, source=1, offset=offset)
        else:
            yield _instruction(_ADD, to=1, value=offset)
    yield _instruction(_STORE, to=10, offset=-8)
    yield _instruction(_MOVE, to=2, source=10)
    yield _instruction(_ADD, to=2, value=-8)
    yield _instruction(_SET, to=3, value=8)
    yield _instruction(_CALL, value=_D_PATH)
    yield from _end()


def _refused(instructions: bytes, way: Way, target: int) -> str:
    """Why the kernel does not take the program; empty where it does."""
    program_type, attach_type = _TYPES[way]
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_LOG_BYTES)
    # union bpf_attr of BPF_PROG_LOAD, up to attach_prog_fd
    attributes = struct.pack(
        "<IIQQIIQII16sIIIIQIIQIII", program_type, len(instructions) // 8, ctypes.addressof(code),
        ctypes.addressof(licence), 1, _LOG_BYTES, ctypes.addressof(log), 0, 0, b"fsmon_probe", 0, attach_type,
        0, 0, 0, 0, 0, 0, 0, target, 0,
    )  # fmt: skip
    attributes = attributes.ljust(120, b"\0")
    fd = int(_libc.syscall(_SYS_BPF, _PROG_LOAD, attributes, len(attributes)))
    if fd >= 0:
        os.close(fd)
        return ""
    told = [line for line in log.value.decode(errors="replace").splitlines() if line.strip()]
    told = [line for line in told if not line.startswith("processed ")]
    return told[-1] if told else os.strerror(ctypes.get_errno())
