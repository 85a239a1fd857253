"""Makes messages of ring records: frame, host_id, session and seq before the kernel's Avro bytes.

Records of pure ASCII are never decoded. A record the kernel flagged is looked into, and rewritten
if a string in it is not UTF-8; what cannot be sent becomes a stub: every record takes exactly one seq.
"""

from dataclasses import dataclass

from fsmon_schemas.framing import encode_long, encode_string

from fsmon_producer.record import CURRENT, EventCodec, UndecodableRecordError, unknown_event, without_paths
from fsmon_producer.ring import Batch

_LONGEST_VARINT = 10


@dataclass
class StampCounts:
    """What the slow path did since the session began; records read again count again."""

    rewritten: int = 0
    oversize: int = 0
    undecodable: int = 0


class Stamp:
    """Stamps the records of one session. ``limit`` is the longest message value, in bytes."""

    def __init__(
        self,
        frame: bytes,
        host_id: str,
        session: int,
        limit: int,
        counts: StampCounts | None = None,
        *,
        codec: EventCodec = CURRENT,
    ) -> None:
        """``codec`` is of the schema that the records were written with."""
        self.limit = limit
        self.counts = counts or StampCounts()
        self._codec = codec
        self._prefix = frame + encode_string(host_id) + encode_long(session)
        # A seq's varint is a low byte, one of 64 in turn, and a rest that stays for 64 records.
        self._short = [self._prefix + bytes([2 * low]) for low in range(64)]
        self._heads = [self._prefix + bytes([0x80 | 2 * low]) for low in range(64)]

    @property
    def longest(self) -> int:
        """The longest ring payload (with its flag byte) whose message is sure to fit."""
        return self.limit - len(self._prefix) - _LONGEST_VARINT + 1

    def messages(self, batch: Batch) -> list[bytes]:
        """One message for each record of the batch, in order."""
        messages: list[bytes] = []
        bodies, seq, done = batch.bodies, batch.start.seq, 0
        while done < len(bodies):
            low = seq & 63
            run = bodies[done : done + 64 - low]
            if seq < 64:
                messages += [head + body for head, body in zip(self._short[low:], run, strict=False)]
            else:
                rest = _varint(seq >> 6)
                messages += [head + rest + body for head, body in zip(self._heads[low:], run, strict=False)]
            done += len(run)
            seq += len(run)
        for index in batch.special:
            messages[index] = self._special(batch.start.seq + index, bodies[index])
        return messages

    def framed(self, first: int, bodies: list[bytes], frame: bytes) -> list[bytes]:
        """Messages of bodies that were stamped before, without a frame, from seq ``first`` on."""
        messages = [frame + body for body in bodies]
        for index, message in enumerate(messages):
            if len(message) > self.limit:
                seq = first + index
                stamped = len(self._prefix) - len(frame) + len(encode_long(seq))
                messages[index] = self._special(seq, bodies[index][stamped:])
        return messages

    def _special(self, seq: int, body: bytes) -> bytes:
        head = self._prefix + encode_long(seq)
        if len(head) + len(body) <= self.limit and self._codec.is_text(body):
            return head + body
        try:
            event = self._codec.readable(self._codec.decode_kernel(body))
        except UndecodableRecordError:
            self.counts.undecodable += 1
            return head + self._codec.encode_kernel(unknown_event())
        message = head + self._codec.encode_kernel(event)
        if len(message) <= self.limit:
            self.counts.rewritten += 1
            return message
        self.counts.oversize += 1
        return head + self._codec.encode_kernel(without_paths(event))


def _varint(groups: int) -> bytes:
    """What remains of a varint, ``groups`` being its value without the low 7 bits."""
    encoded = bytearray()
    while groups > 0x7F:
        encoded.append(0x80 | (groups & 0x7F))
        groups >>= 7
    encoded.append(groups)
    return bytes(encoded)
