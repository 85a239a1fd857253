"""The messages of a batch by writer schema: each group is read as one block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fsmon_schemas import FramingError
from fsmon_schemas.framing import SchemaRef, split_frame


@dataclass
class Group:
    """Messages of one writer schema: bodies without frame, and the slot and offset each came from."""

    ref: SchemaRef
    prefix: bytes
    bodies: list[bytes] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


class Groups:
    """Iterates over its groups."""

    def __init__(self) -> None:
        self._groups: dict[bytes, Group] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def add(
        self,
        slot: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        offsets: Sequence[int],
    ) -> list[tuple[int, FramingError]]:
        """Sort a log slice in; returns the index of each message without a frame, and what is wrong."""
        if self._add_whole(slot, keys, values, offsets):
            return []
        frameless = []
        for index, (key, value, offset) in enumerate(zip(keys, values, offsets, strict=True)):
            try:
                group = self._group_of(value)
            except FramingError as error:
                frameless.append((index, error))
                continue
            group.bodies.append((value or b"")[len(group.prefix) :])
            group.keys.append(key)
            group.slots.append(slot)
            group.offsets.append(offset)
        return frameless

    def _add_whole(
        self,
        slot: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        offsets: Sequence[int],
    ) -> bool:
        """Take a slice whose messages all have the same frame, which is the rule; False if they have not."""
        try:
            group = self._group_of(values[0])
        except FramingError:
            return False
        prefix, start = group.prefix, len(group.prefix)
        if not all(value is not None and value.startswith(prefix) for value in values):
            return False
        group.bodies += [value[start:] for value in values if value is not None]
        group.keys += keys
        group.slots += [slot] * len(values)
        group.offsets += offsets
        return True

    def _group_of(self, value: bytes | None) -> Group:
        """The group that a message belongs to; FramingError without a frame."""
        ref, start = split_frame(value or b"")
        prefix = (value or b"")[:start]
        if prefix not in self._groups:
            self._groups[prefix] = Group(ref, prefix)
        return self._groups[prefix]
