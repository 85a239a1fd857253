"""The names that are watched, as the kernel knows them: what is given one is watched at once (named.h).

User space says which, and is told of the files that were added so.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fsmon_producer.marker import Inode


class Name(NamedTuple):
    """A name in a directory."""

    folder: Inode
    name: bytes


def rule_id(path: Path) -> int:
    """A number for the rule of that name: the same to the next process."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "little")


class Names:
    """The only writer of the map of that name; used by the thread that owns the capture."""

    def __init__(self, bpf: Any) -> None:
        self._table = bpf[b"names"]
        self._adopted = bpf[b"adopted"]
        self._there: dict[Name, int] | None = None  # not looked at yet: a predecessor may have filled it

    def enforce(self, wanted: Mapping[Name, int]) -> None:
        """Bring the map to this: of each name the number of its rule."""
        if self._there is None:
            self._there = {self._name(key): leaf.value for key, leaf in self._table.items()}
        for name, rule in wanted.items():
            if self._there.get(name) != rule:
                self._table[self._key(name)] = self._table.Leaf(rule)
        for name in self._there.keys() - wanted.keys():
            del self._table[self._key(name)]
        self._there = dict(wanted)

    def adopted(self) -> list[tuple[int, Inode]]:
        """The files that the kernel has begun to watch since it was last asked, in order: rule and inode."""
        found = list(self._adopted.items())
        for key, _ in found:
            del self._adopted[key]
        found.sort(key=lambda item: item[1].time)
        return [(leaf.rule, Inode(key.ino, key.dev, key.generation)) for key, leaf in found]

    def _name(self, key: Any) -> Name:
        return Name(Inode(key.dir.ino, key.dir.dev, key.dir.generation), bytes(key.name))

    def _key(self, name: Name) -> Any:
        key = self._table.Key()
        key.dir.ino, key.dir.dev, key.dir.generation = name.folder
        key.name = name.name
        return key
