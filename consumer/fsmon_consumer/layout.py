"""The columns of file_events as file_event.avsc declares them: names, types, defaults.

Types that kernel, fastavro, polars and pgpq all read alike: string, long, bytes, boolean, a
non-null enum, timestamp-micros, and [null, T] with T no enum .
"""

from dataclasses import dataclass
from typing import Any

from fsmon_schemas import FILE_EVENT, FsmonError, Schema

_SQL = {
    "string": "text",
    "enum": "text",
    "long": "bigint",
    "bytes": "bytea",
    "boolean": "boolean",
    "timestamp-micros": "timestamp with time zone",
}


class SchemaMismatchError(FsmonError):
    """The writer's schema is not one of a FileEvent that this version can store."""


@dataclass(frozen=True)
class Column:
    """A column of file_events and the Avro field it comes from. ``avro`` is the bare type."""

    name: str
    avro: str
    nullable: bool
    default: object

    @property
    def sql(self) -> str:
        """PostgreSQL's type, as format_type() spells it."""
        return _SQL[self.avro]


def record_name(schema: Schema) -> str:
    """The name of the schema's record without namespace; SchemaMismatchError where it is of no record."""
    declared: Any = schema.declared  # a registry may hold any Avro type under an id
    if not isinstance(declared, dict) or declared.get("type") != "record":
        raise SchemaMismatchError("a schema of no record")
    return str(declared["name"]).rpartition(".")[2]


def column(declared: dict[str, Any]) -> Column:
    """The column of one field of an Avro record; SchemaMismatchError for a type we do not carry."""
    avro, nullable = declared["type"], False
    if isinstance(avro, list):
        if len(avro) != 2 or avro[0] != "null":
            raise SchemaMismatchError(f"field {declared['name']}: a union other than [null, T]")
        avro, nullable = avro[1], True
    if isinstance(avro, dict):
        avro = avro.get("logicalType") or avro["type"]
    if not isinstance(avro, str) or avro not in _SQL or (avro == "enum" and nullable):
        raise SchemaMismatchError(f"field {declared['name']}: type {avro}")
    return Column(declared["name"], avro, nullable, declared.get("default"))


COLUMNS: tuple[Column, ...] = tuple(column(declared) for declared in FILE_EVENT.declared["fields"])
COPY_COLUMNS = tuple(each.name for each in COLUMNS)
