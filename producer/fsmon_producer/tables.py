"""Pinned maps as programs.py knows them from BCC: tables with the same ``Key``, ``Leaf`` and operations.

BCC makes tables of what it has compiled, and who takes over compiles nothing.
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsmon_schemas.errors import FatalError

from fsmon_producer import bpf_syscall


class _InodeKey(ctypes.Structure):
    _fields_ = (("ino", ctypes.c_uint64), ("dev", ctypes.c_uint32), ("generation", ctypes.c_uint32))


class _Cursor(ctypes.Structure):
    _fields_ = (("position", ctypes.c_uint64), ("seq", ctypes.c_uint64))


class _NameKey(ctypes.Structure):
    _fields_ = (("dir", _InodeKey), ("name", ctypes.c_char * 256))


class _Adoption(ctypes.Structure):
    _fields_ = (("rule", ctypes.c_uint64), ("time", ctypes.c_uint64))


_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64
# Key and value of the maps that user space looks into (maps.h, filter.h, named.h).
_TYPES: dict[str, tuple[type[Any], type[Any]]] = {
    "calls": (_U32, ctypes.c_ubyte * 20),
    "settings": (_U32, _U64),
    "ignored": (_U32, _U64),
    "cursors": (_U32, _Cursor),
    "marker": (_U32, _InodeKey),
    "watches": (_InodeKey, _U32),
    "names": (_NameKey, _U64),
    "adopted": (_InodeKey, _Adoption),
    "outcomes": (_U32, _U64),
    "uncovered": (_U32, _U64),
}
_PER_CPU_ARRAY = 6  # BPF_MAP_TYPE_PERCPU_ARRAY


class Table:
    """One pinned map; ``map_fd`` is for the caller to close."""

    def __init__(self, path: Path) -> None:
        """OSError if nothing is pinned there; FatalError if it is no map of ours."""
        self.map_fd = bpf_syscall.pinned(path)
        info = bpf_syscall.map_info(self.map_fd)
        self.max_entries = info.max_entries
        self.Key, self.Leaf = _TYPES.get(path.name, (_U32, ctypes.c_ubyte * info.value_size))
        if path.name in _TYPES and (ctypes.sizeof(self.Key), ctypes.sizeof(self.Leaf)) != info[2:4]:
            raise FatalError(f"{path} is another map than this version's: run `fsmon-producer detach`")
        self._cpus = _possible_cpus() if info.type == _PER_CPU_ARRAY else 0

    def __getitem__(self, key: Any) -> Any:
        """The value, for a per-CPU map a list of them; KeyError where there is none."""
        size = ctypes.sizeof(self.Leaf)
        value = bpf_syscall.lookup(self.map_fd, self._bytes(key), size * max(1, self._cpus))
        if value is None:
            raise KeyError(key)
        if not self._cpus:
            return self.Leaf.from_buffer_copy(value)
        return [self.Leaf.from_buffer_copy(value, size * cpu) for cpu in range(self._cpus)]

    def __setitem__(self, key: Any, leaf: Any) -> None:
        bpf_syscall.update(self.map_fd, self._bytes(key), bytes(leaf))

    def __delitem__(self, key: Any) -> None:
        if not bpf_syscall.delete(self.map_fd, self._bytes(key)):
            raise KeyError(key)

    def keys(self) -> Iterator[Any]:
        """Every key; one removed meanwhile begins the walk anew."""
        size = ctypes.sizeof(self.Key)
        key = bpf_syscall.next_key(self.map_fd, None, size)
        while key is not None:
            yield self.Key.from_buffer_copy(key)
            key = bpf_syscall.next_key(self.map_fd, key, size)

    def items(self) -> list[tuple[Any, Any]]:
        """Every key with its value."""
        return [(key, self[key]) for key in self.keys()]

    def values(self) -> list[Any]:
        """Every value, in the order of keys."""
        return [value for _, value in self.items()]

    def _bytes(self, key: Any) -> bytes:
        return bytes(self.Key(key) if isinstance(key, int) else key)


def _possible_cpus() -> int:
    """CPUs of which a per-CPU map has values."""
    last = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip().split(",")[-1]
    return int(last.split("-")[-1]) + 1
