"""What the verifiers of older kernels ask for, held natively: no kernel but the running one is needed."""

import os
import struct
from collections.abc import Iterator

import pytest
from bcc import BPF
from fsmon_bpf import source
from fsmon_bpf.backends import BACKENDS, Backend
from fsmon_bpf.btf import Btf

pytestmark = pytest.mark.kernel

_FLAGS = ["-I/usr/include", "-I/usr/include/x86_64-linux-gnu", "-Wno-everything", "-DRING_PAGES=16"]
_LOAD_64, _EXIT, _CALL, _JUMP = 0x18, 9, 8, 0


class Unloaded(BPF):  # type: ignore[misc] # bcc has no types
    """BCC loads at once what is named as an LSM program."""

    def _trace_autoload(self) -> None:
        pass


def compiled(backend: Backend) -> BPF:
    os.environ.setdefault("BCC_KERNEL_SOURCE", str(source.KERNEL_STUB))
    text = source.program_text(backend.text)
    d_path = {hook.name for hook in backend.hooks if hook.path}
    return Unloaded(text=text.encode(), cflags=[*_FLAGS, *backend.flags(Btf.of_kernel(), 1, d_path)])


def functions(backend: Backend) -> Iterator[bytes]:
    yield from (hook.program(backend.way).encode() for hook in backend.hooks)
    yield from (f"on_{tracepoint}".encode() for tracepoint in backend.tracepoints)
    yield from {body.encode() for body in backend.bodies.values()}


def refused_edges(code: bytes) -> list[tuple[int, int]]:
    """Edges that Linux 6.1 calls back-edges (check_cfg in kernel/bpf/verifier.c): a loop that is entered in
    its middle, so that an instruction before its head falls through into one that is being explored."""
    instructions = list(struct.iter_unpack("<BBhi", code))
    unseen, exploring, explored = 0, 1, 2
    state = [unseen] * len(instructions)

    def successors(at: int) -> Iterator[tuple[int, bool]]:
        opcode, _, offset, _ = instructions[at]
        operation = opcode >> 4 if opcode & 7 in (5, 6) else None
        if operation == _EXIT and opcode & 7 == 5:
            return
        if operation is None or (operation == _CALL and opcode & 7 == 5):
            yield at + (2 if opcode == _LOAD_64 else 1), False
            return
        if not (operation == _JUMP and opcode & 7 == 5):
            yield at + 1, True
        yield at + offset + 1, True

    refused = []
    stack = [(0, successors(0))]
    state[0] = exploring
    while stack:
        at, rest = stack[-1]
        for to, may_loop in rest:
            if state[to] == unseen:
                state[to] = exploring
                stack.append((to, successors(to)))
                break
            if state[to] == exploring and not may_loop:
                refused.append((at, to))
        else:
            state[at] = explored
            stack.pop()
    return refused


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_no_loop_is_entered_in_its_middle(backend: Backend) -> None:
    backend = backend.on(Btf.of_kernel())
    bpf = compiled(backend)
    edges = {function.decode(): refused_edges(bpf.dump_func(function)) for function in functions(backend)}
    assert {function: found for function, found in edges.items() if found} == {}
    assert len(edges) == len(list(functions(backend)))


def test_the_check_sees_such_a_loop() -> None:
    jump_into_the_middle = struct.pack("<BBhi", 0x05, 0, 1, 0)
    body = struct.pack("<BBhi", 0xB7, 0, 0, 0)
    head = struct.pack("<BBhi", 0x15, 0, 1, 0)
    back = struct.pack("<BBhi", 0x05, 0, -3, 0)
    end = struct.pack("<BBhi", 0x95, 0, 0, 0)
    assert refused_edges(jump_into_the_middle + body + head + back + end) == [(1, 2)]
