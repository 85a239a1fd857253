"""Struct offsets of the running kernel, read from its BTF.

BCC does no CO-RE relocation, so the offsets are looked up here and compiled in. Format:
Documentation/bpf/btf.rst in the kernel tree.
"""

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_MAGIC = 0xEB9F
_STRUCT, _UNION, _TYPEDEF, _FUNC = 4, 5, 8, 12
_THROUGH = frozenset((8, 9, 10, 11, 18))  # typedef, volatile, const, restrict, type tag: look behind
# Bytes that follow the 12-byte header of a type: fixed, and for each of its vlen members.
_TAIL = {
    1: (4, 0), 2: (0, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 7: (0, 0), 8: (0, 0), 9: (0, 0),
    10: (0, 0), 11: (0, 0), 12: (0, 0), 13: (0, 8), 14: (4, 0), 15: (0, 12), 16: (0, 0), 17: (4, 0),
    18: (0, 0), 19: (0, 12),
}  # fmt: skip


class BtfError(Exception):
    """The BTF is malformed, or lacks a struct or a member that was asked for."""


@dataclass(frozen=True)
class Btf:
    """A parsed BTF blob: ``offset_of`` is what it is for."""

    data: bytes

    @classmethod
    def of_kernel(cls) -> "Btf":
        """The running kernel's BTF; OSError where the kernel has none (CONFIG_DEBUG_INFO_BTF)."""
        return cls(VMLINUX.read_bytes())

    @cached_property
    def _sections(self) -> tuple[int, int, int]:
        magic, _version, _flags, header, types, types_len, strings, _ = struct.unpack_from(
            "<HBBIIIII", self.data
        )
        if magic != _MAGIC:
            raise BtfError(f"no BTF: magic {magic:#x}")
        return header + types, header + types + types_len, header + strings

    @cached_property
    def _types(self) -> list[int]:
        """Position of each type by its id; id 0 is void."""
        position, end, _ = self._sections
        positions = [0]
        unpack = struct.Struct("<I").unpack_from
        while position < end:
            positions.append(position)
            (info,) = unpack(self.data, position + 4)
            fixed, each = _TAIL[(info >> 24) & 0x1F]
            position += 12 + fixed + each * (info & 0xFFFF)
        return positions

    @cached_property
    def _structs(self) -> dict[str, int]:
        unpack = struct.Struct("<II").unpack_from
        found: dict[str, int] = {}
        for type_id, position in enumerate(self._types[1:], 1):
            name, info = unpack(self.data, position)
            # A forward-declared or empty struct has no members to look up.
            if name and (info >> 24) & 0x1F == _STRUCT and info & 0xFFFF:
                found.setdefault(self._name(name), type_id)
        return found

    def _name(self, offset: int) -> str:
        start = self._sections[2] + offset
        return self.data[start : self.data.index(b"\0", start)].decode()

    def _member(self, type_id: int, member: str) -> int | None:
        position = self._types[type_id]
        _, info, behind = struct.unpack_from("<III", self.data, position)
        kind = (info >> 24) & 0x1F
        if kind in _THROUGH:
            return self._member(behind, member)
        if kind not in (_STRUCT, _UNION):
            return None
        bitfields = info >> 31
        for index in range(info & 0xFFFF):
            name, member_type, bits = struct.unpack_from("<III", self.data, position + 12 + 12 * index)
            offset: int = (bits & 0xFFFFFF if bitfields else bits) // 8
            if name:
                if self._name(name) == member:
                    return offset
            elif (inner := self._member(member_type, member)) is not None:
                return offset + inner
        return None

    @cached_property
    def _functions(self) -> dict[str, int]:
        """Type id of each by its name."""
        unpack = struct.Struct("<II").unpack_from
        found: dict[str, int] = {}
        for type_id, position in enumerate(self._types[1:], 1):
            name, info = unpack(self.data, position)
            if (info >> 24) & 0x1F == _FUNC:
                found.setdefault(self._name(name), type_id)
        return found

    def function_id(self, name: str) -> int | None:
        """The type id of a kernel function, as bpf(2) takes it for attach_btf_id; None if there is none."""
        return self._functions.get(name)

    def has_tracepoint(self, name: str) -> bool:
        """Whether the kernel has a raw tracepoint of that name (bpf_probe.h declares its type)."""
        return f"btf_trace_{name}" in self._typedefs

    def tracepoint_arguments(self, name: str) -> int | None:
        """How many arguments a raw tracepoint has; None if the kernel has none of that name."""
        if not self.has_tracepoint(name):
            return None
        # typedef void (*btf_trace_x)(void *, arguments): typedef, pointer, function
        (pointer,) = struct.unpack_from("<I", self.data, self._typedefs[f"btf_trace_{name}"] + 8)
        (function,) = struct.unpack_from("<I", self.data, self._types[pointer] + 8)
        (info,) = struct.unpack_from("<I", self.data, self._types[function] + 4)
        return (int(info) & 0xFFFF) - 1

    def has_struct(self, name: str) -> bool:
        """Whether ``offset_of`` may be asked for it."""
        return name in self._structs

    @cached_property
    def _typedefs(self) -> dict[str, int]:
        """Position of each by its name."""
        unpack = struct.Struct("<II").unpack_from
        found = ((position, *unpack(self.data, position)) for position in self._types[1:])
        return {self._name(name): at for at, name, info in found if (info >> 24) & 0x1F == _TYPEDEF}

    def parameters_of(self, function: str) -> list[str] | None:
        """Names of a kernel function's parameters; None if the kernel has no such function."""
        if function not in self._functions:
            return None
        (prototype,) = struct.unpack_from("<I", self.data, self._types[self._functions[function]] + 8)
        position = self._types[prototype]
        (info,) = struct.unpack_from("<I", self.data, position + 4)
        names = (
            struct.unpack_from("<I", self.data, position + 12 + 8 * index)[0]
            for index in range(info & 0xFFFF)
        )
        return [self._name(name) for name in names]

    def offset_of(self, name: str, *members: str) -> int | None:
        """Byte offset of the first of ``members`` that ``struct name`` has, also inside anonymous ones.

        None if it has none of them; BtfError if there is no such struct.
        """
        if name not in self._structs:
            raise BtfError(f"this kernel's BTF has no struct {name}")
        for member in members:
            if (offset := self._member(self._structs[name], member)) is not None:
                return offset
        return None
