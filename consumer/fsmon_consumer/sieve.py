"""The sound records of a group, found as whole blocks where that goes, and what is wrong with the others."""

from collections.abc import Sequence

from fsmon_schemas import Schema

from fsmon_consumer import records
from fsmon_consumer.columns import BlockError, BlockReader
from fsmon_consumer.dead_letters import Reason
from fsmon_consumer.groups import Group
from fsmon_consumer.table import Part

_ONE_BY_ONE = 32  # below this, records are looked at singly: halving further saves nothing
Refused = tuple[int, Reason, str]  # index in the group, why, and the words for it


def sift(group: Group, reader: BlockReader, schema: Schema) -> tuple[list[Part], list[Refused]]:
    """Parts of all sound records in order, and the others; ``reader`` is of ``schema``, the writer's."""
    sieve = _Sieve(group, reader, schema)
    sieve.read(0, len(group.bodies))
    return sieve.parts, sieve.refused


class _Sieve:
    def __init__(self, group: Group, reader: BlockReader, schema: Schema) -> None:
        self._group = group
        self._reader = reader
        self._schema = schema
        self.parts: list[Part] = []
        self.refused: list[Refused] = []

    def read(self, start: int, stop: int) -> None:
        group = self._group
        try:
            frame = self._reader.read(group.bodies[start:stop], group.keys[start:stop])
        except BlockError:
            if stop - start > _ONE_BY_ONE:
                middle = (start + stop) // 2
                self.read(start, middle)
                self.read(middle, stop)
            else:
                self._read_few(range(start, stop))
        else:
            self.parts.append((frame, group.slots[start:stop], group.offsets[start:stop]))

    def _read_few(self, indexes: Sequence[int]) -> None:
        """Each record by itself through fastavro, and those that pass once more as a block.

        One at a time as blocks would be five times slower where every third record is bad.
        """
        group, sound = self._group, [index for index in indexes if self._is_sound(index)]
        if not sound:
            return
        try:
            frame = self._reader.read([group.bodies[i] for i in sound], [group.keys[i] for i in sound])
        except BlockError as error:
            if len(sound) == 1:
                self.refused.append((sound[0], Reason.UNDECODABLE, str(error)))
            else:
                for index in sound:
                    self._read_few([index])
        else:
            self.parts.append((frame, [group.slots[i] for i in sound], [group.offsets[i] for i in sound]))

    def _is_sound(self, index: int) -> bool:
        """Whether the record is exactly one of its schema, and its key's; else it is refused."""
        key = self._group.keys[index]
        try:
            record = records.decode(self._schema, self._group.bodies[index])
        except records.RecordError as error:
            self.refused.append((index, Reason.UNDECODABLE, str(error)))
            return False
        if record["host_id"].encode() != key:
            detail = f"host_id is {record['host_id']!r}, the message's key {key!r}"
            self.refused.append((index, Reason.KEY_MISMATCH, detail))
            return False
        return True
