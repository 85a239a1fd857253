"""bpf(2) itself, for what outlives the process that loaded the programs: pins, and maps by descriptor.

Commands and layouts are those of include/uapi/linux/bpf.h. OSError where the kernel refuses.
"""

import ctypes
import os
import struct
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_BPF = 321  # x86-64; the ring is read there only
_libc = ctypes.CDLL(None, use_errno=True)


class Command(IntEnum):
    """``enum bpf_cmd``."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    OBJ_PIN = 6
    OBJ_GET = 7
    OBJ_GET_INFO_BY_FD = 15


_ARRAY = 2  # BPF_MAP_TYPE_ARRAY
_MAP_INFO = struct.Struct("6I")  # the beginning of struct bpf_map_info


class MapInfo(NamedTuple):
    """``struct bpf_map_info``; sizes in bytes, of one CPU's value in a per-CPU map."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


def _call(command: Command, attributes: bytes, what: str = "") -> int:
    attribute = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    result = int(_libc.syscall(_BPF, int(command), attribute, len(attribute)))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf {command.name}: {os.strerror(error)}", what or None)
    return result


def pin(descriptor: int, path: Path) -> None:
    """Keep the object alive for as long as ``path``, on a bpffs, exists."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    _call(Command.OBJ_PIN, struct.pack("QII", ctypes.addressof(name), descriptor, 0), str(path))


def pinned(path: Path) -> int:
    """A descriptor of what is pinned there, closed on exec; OSError if nothing is."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _call(Command.OBJ_GET, struct.pack("QII", ctypes.addressof(name), 0, 0), str(path))


def create_array(value_size: int) -> int:
    """A descriptor of a new array map of one value."""
    return _call(Command.MAP_CREATE, struct.pack("5I", _ARRAY, 4, value_size, 1, 0))


def map_info(descriptor: int) -> MapInfo:
    """What the kernel says of a map."""
    info = ctypes.create_string_buffer(_MAP_INFO.size)
    attributes = struct.pack("IIQ", descriptor, len(info), ctypes.addressof(info))
    _call(Command.OBJ_GET_INFO_BY_FD, attributes)
    return MapInfo(*_MAP_INFO.unpack(info.raw))


def lookup(descriptor: int, key: bytes, value_size: int) -> bytes | None:
    """The value of a key; None where there is none."""
    value = ctypes.create_string_buffer(value_size)
    return value.raw if _element(Command.MAP_LOOKUP_ELEM, descriptor, key, value) else None


def update(descriptor: int, key: bytes, value: bytes) -> None:
    """Set a key's value."""
    _element(Command.MAP_UPDATE_ELEM, descriptor, key, ctypes.create_string_buffer(value, len(value)))


def delete(descriptor: int, key: bytes) -> bool:
    """Remove a key; False where it is not there."""
    return _element(Command.MAP_DELETE_ELEM, descriptor, key, None)


def next_key(descriptor: int, key: bytes | None, key_size: int) -> bytes | None:
    """The key after ``key``, the first one for None; None behind the last."""
    following = ctypes.create_string_buffer(key_size)
    return following.raw if _element(Command.MAP_GET_NEXT_KEY, descriptor, key, following) else None


def _element(
    command: Command, descriptor: int, key: bytes | None, value: ctypes.Array[ctypes.c_char] | None
) -> bool:
    """False for ENOENT."""
    held = ctypes.create_string_buffer(key, len(key)) if key is not None else None
    attributes = struct.pack(
        "IIQQQ",
        descriptor,
        0,
        ctypes.addressof(held) if held is not None else 0,
        ctypes.addressof(value) if value is not None else 0,
        0,
    )
    try:
        _call(command, attributes)
    except FileNotFoundError:
        return False
    return True
