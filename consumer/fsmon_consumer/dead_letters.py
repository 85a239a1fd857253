"""Messages that cannot be stored, and why."""

from dataclasses import dataclass
from enum import StrEnum

from fsmon_schemas import FramingError
from fsmon_schemas.framing import Fingerprint, RegistryId, SchemaRef, decode_long

HOST_ID_BYTES = 255
LAST = (1 << 63) - 1  # of a bigint


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
    RANGE = "range"  # a seq that no other follows, or a range of seqs that is none
    HOST_ID = "host_id"  # empty, or longer than any host's and than an index takes
    REFUSED = "refused"  # PostgreSQL, or its driver, refused the row
    OUT_OF_PLACE = "out_of_place"  # its session or seq cannot stand where the message stands
    IDENTITY_CONFLICT = "identity_conflict"  # another event has its identity: two producers are one host


@dataclass(frozen=True)
class Identity:
    """What an event says it is."""

    host_id: str
    session: int
    seq: int

    @property
    def fits(self) -> bool:
        """Whether the ledger can hold it: a text of PostgreSQL's and bigints, the seq's successor too."""
        return (
            0 < len(self.host_id.encode()) <= HOST_ID_BYTES
            and "\0" not in self.host_id
            and 0 <= self.session <= LAST
            and 0 <= self.seq < LAST
        )


@dataclass(frozen=True)
class DeadLetter:
    """One refused message. ``identity`` only where the prefix decodes, agrees with the key and fits."""

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
        if not 0 < length <= min(len(body), HOST_ID_BYTES):
            return None
        host = body[position : position + length]
        session, position = decode_long(body, position + length)
        seq, _ = decode_long(body, position)
        identity = Identity(host.decode(), session, seq)
    except (FramingError, UnicodeDecodeError):
        return None
    return identity if host == key and identity.fits else None
