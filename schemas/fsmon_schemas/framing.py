"""How an Avro body is wrapped in a Kafka message value.

Two framings, told apart by the first byte: Confluent's (0x00, 4-byte big-endian schema id) when
a schema registry is used, else Avro's single-object encoding (0xC3 0x01, 8-byte little-endian
CRC-64-AVRO fingerprint).
"""

import struct
from dataclasses import dataclass

from fsmon_schemas.errors import FramingError
from fsmon_schemas.schema import Schema

_CONFLUENT = 0x00
_SINGLE_OBJECT = b"\xc3\x01"
_LONG_BYTES = 10  # a 64-bit zigzag varint never needs more (Avro specification, "Binary encoding")


@dataclass(frozen=True)
class RegistryId:
    """Names the writer schema by its id in the schema registry."""

    id: int


@dataclass(frozen=True)
class Fingerprint:
    """Names the writer schema by its CRC-64-AVRO fingerprint (8 bytes, little-endian)."""

    crc: bytes


SchemaRef = RegistryId | Fingerprint


def confluent_prefix(schema_id: int) -> bytes:
    """The 5 bytes before a body whose schema is registered as ``schema_id``."""
    return struct.pack(">BI", _CONFLUENT, schema_id)


def single_object_prefix(schema: Schema) -> bytes:
    """The 10 bytes before a body of ``schema`` when there is no registry."""
    return _SINGLE_OBJECT + schema.fingerprint


def split_frame(message: bytes) -> tuple[SchemaRef, int]:
    """The writer schema's name and the offset at which the Avro body starts.

    Raises FramingError where neither framing is there, or it is cut short.
    """
    if len(message) >= 5 and message[0] == _CONFLUENT:
        return RegistryId(int.from_bytes(message[1:5], "big")), 5
    if len(message) >= 10 and message[:2] == _SINGLE_OBJECT:
        return Fingerprint(message[2:10]), 10
    raise FramingError(f"neither Confluent nor single-object framing: {message[:10].hex() or 'no bytes'}")


def encode_long(value: int) -> bytes:
    """Avro's zigzag varint of a 64-bit signed integer."""
    zigzag = (value << 1) ^ (value >> 63)
    encoded = bytearray()
    while zigzag > 0x7F:
        encoded.append(0x80 | (zigzag & 0x7F))
        zigzag >>= 7
    encoded.append(zigzag)
    return bytes(encoded)


def decode_long(data: bytes, position: int) -> tuple[int, int]:
    """Read one zigzag varint; returns the value and the position behind it.

    Raises FramingError when the bytes end first or the number needs more than 64 bits.
    """
    zigzag = 0
    for index in range(_LONG_BYTES):
        if position + index >= len(data):
            raise FramingError("an Avro long is cut short")
        byte = data[position + index]
        zigzag |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if zigzag >= 1 << 64:
                break
            return (zigzag >> 1) ^ -(zigzag & 1), position + index + 1
    raise FramingError("an Avro long is wider than 64 bits")


def encode_string(text: str) -> bytes:
    """Avro's string: length as a long, then UTF-8."""
    data = text.encode("utf-8")
    return encode_long(len(data)) + data
