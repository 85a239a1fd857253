"""Messages that cannot be stored, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fsmon_schemas import FatalError, FramingError
from fsmon_schemas.framing import Fingerprint, RegistryId, SchemaRef, decode_long

_WHOLESALE = 100  # so many at once are no stray messages: the fault is here, not in them


class Reason(StrEnum):
    """Why a message was refused: the ``reason`` column, documented for operators."""

    FRAMING = "framing"  # neither of the two framings
    UNKNOWN_SCHEMA = "unknown_schema"  # the registry, or this version, knows no such schema
    WRONG_SCHEMA = "wrong_schema"  # a known schema, of something else
    UNDECODABLE = "undecodable"  # the body is no record of the schema it names
    KEY_MISMATCH = "key_mismatch"  # key and content name different hosts
    NUL = "nul"  # a text holds U+0000, which PostgreSQL cannot store
    TIME = "time"  # a time before 1970 or too far in the future
    NEGATIVE = "negative"  # session or seq below 0
    REFUSED = "refused"  # PostgreSQL refused the row


@dataclass(frozen=True)
class Identity:
    """What an event says it is."""

    host_id: str
    session: int
    seq: int


@dataclass(frozen=True)
class DeadLetter:
    """One refused message. ``identity`` only where the prefix decodes and agrees with the key."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    schema: SchemaRef | None
    reason: Reason
    detail: str
    identity: Identity | None = None


def schema_text(schema: SchemaRef | None) -> str | None:
    """How the ``schema_ref`` column names a writer schema."""
    match schema:
        case RegistryId(number):
            return f"registry id {number}"
        case Fingerprint(crc):
            return f"fingerprint {crc.hex()}"
        case None:
            return None


def identity_of(body: bytes, key: bytes | None) -> Identity | None:
    """host_id, session and seq at the head of a body, if they decode and the host is the key's."""
    try:
        length, position = decode_long(body, 0)
        if not 0 < length <= len(body):
            return None
        host = body[position : position + length]
        session, position = decode_long(body, position + length)
        seq, _ = decode_long(body, position)
        identity = Identity(host.decode(), session, seq)
    except (FramingError, UnicodeDecodeError):
        return None
    return identity if host == key and session >= 0 and seq >= 0 else None


def refuse_wholesale(letters: Sequence[DeadLetter], messages: int) -> None:
    """FatalError where ``letters`` are all ``messages`` of a partition's slice, for one unknown registry id.

    A stray message never stops the stream. But with a wrong --registry, or none, every message is
    such a one, and its offset would be committed with nothing stored.
    """
    if len(letters) != messages or messages < _WHOLESALE:
        return
    first = letters[0]
    if isinstance(first.schema, RegistryId) and all(
        letter.reason is Reason.UNKNOWN_SCHEMA and letter.schema == first.schema for letter in letters
    ):
        raise FatalError(
            f"all {messages} messages read from {first.topic}[{first.partition}] name a schema that cannot "
            f"be found: {first.detail}; check --registry: it has to be the one that the producers use. "
            "Nothing of them was stored, and they will be read again"
        )
