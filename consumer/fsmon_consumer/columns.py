"""Avro bodies to columns. With table.py the only module that imports polars (and, there, pgpq).

The bodies of one writer schema are joined into one Avro block and read as a whole, which costs a
sixth of reading them one by one. A joined block can hide a bad record (a wrong length in one is
made good by its neighbours), so every block carries a sentinel record behind the last body, and
is accepted only with the exact row count, the sentinel intact and every row's host_id equal to
its message's key.
"""

import io
import json
import os
from collections.abc import Sequence
from typing import Any

# One thread: parallelism is one worker a core, and polars' pool costs a third more CPU on our blocks
# (3.1 against 2.3 us a row). Read when polars is imported; a value of the user's stands.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl
from fsmon_schemas import FsmonError, Schema
from fsmon_schemas.framing import encode_long

from fsmon_consumer import records
from fsmon_consumer.layout import COLUMNS, COPY_COLUMNS, Column, SchemaMismatchError, record_name
from fsmon_consumer.layout import column as declared_column

_SYNC = b"fsmon-block-sync"  # any 16 bytes: they stand between blocks of an Avro file
_SENTINEL_TEXT = "fsmon sentinel"
_SENTINEL_LONG = 0x5E97_1AE1
DTYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "enum": pl.String(),
    "long": pl.Int64(),
    "bytes": pl.Binary(),
    "boolean": pl.Boolean(),
    "timestamp-micros": pl.Datetime("us", "UTC"),
}


class BlockError(FsmonError):
    """The block holds a record that is not what it should be, at a place not known."""


class BlockReader:
    """Reads bodies of one writer schema; raises SchemaMismatchError where they are no FileEvents.

    ``dropped`` are the fields that the table has no column for.
    """

    def __init__(self, writer: Schema) -> None:
        if record_name(writer) != "FileEvent":
            raise SchemaMismatchError(f"a schema of {record_name(writer)}, not of FileEvent")
        declared = writer.declared
        written = {field["name"]: declared_column(field) for field in declared["fields"]}
        self.dropped = tuple(name for name in written if name not in COPY_COLUMNS)
        self._select = [_selection(column, written.get(column.name)) for column in COLUMNS]
        # polars refuses namespaced enum names and enum defaults ("OutOfSpec"), and docs only cost
        # time: the header names what is on the wire and no more.
        bare = {
            "type": "record",
            "name": "FileEvent",
            "fields": [{"name": field["name"], "type": _bare(field["type"])} for field in declared["fields"]],
        }
        text = json.dumps(bare).encode()
        self._header = b"".join(
            (
                b"Obj\x01",
                encode_long(1),
                encode_long(11),
                b"avro.schema",
                encode_long(len(text)),
                text,
                b"\0",
                _SYNC,
            )
        )
        sentinel = {field["name"]: _sentinel_value(field["type"]) for field in declared["fields"]}
        self._sentinel = records.encode(writer, sentinel)
        _, self._expected = self._read_block([])

    def read(self, bodies: Sequence[bytes], keys: Sequence[bytes | None]) -> pl.DataFrame:
        """The rows of ``bodies`` in order, in the table's columns; BlockError if one is not sound."""
        frame, last = self._read_block(bodies)
        if frame.height != len(bodies) + 1 or last != self._expected:
            raise BlockError("the records of a block do not end where they should")
        frame = frame.head(len(bodies)).select(self._select)
        hosts = frame.get_column("host_id").cast(pl.Binary)
        if not (hosts == pl.Series(keys, dtype=pl.Binary)).fill_null(value=False).all():
            raise BlockError("a record's host_id is not its message's key")
        return frame

    def _read_block(self, bodies: Sequence[bytes]) -> tuple[pl.DataFrame, tuple[object, ...]]:
        """The rows, and the last of them: reading a row panics, too, at a time that Python has not."""
        data = b"".join((*bodies, self._sentinel))
        block = b"".join((self._header, encode_long(len(bodies) + 1), encode_long(len(data)), data, _SYNC))
        try:
            frame = pl.read_avro(io.BytesIO(block))
            return frame, frame.row(-1)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # polars' panics are no Exceptions (pyo3: PanicException)
            raise BlockError(f"{type(error).__name__}: {error}") from error


def _bare(avro: Any) -> Any:
    if isinstance(avro, list):
        return [_bare(branch) for branch in avro]
    if isinstance(avro, dict):
        bare = {key: avro[key] for key in ("type", "logicalType", "symbols") if key in avro}
        return bare | {"name": avro["name"].rpartition(".")[2]} if "name" in avro else bare
    return avro


def _sentinel_value(avro: Any) -> object:
    if isinstance(avro, list):
        return _sentinel_value(avro[-1])
    if isinstance(avro, dict):
        return avro["symbols"][-1] if avro["type"] == "enum" else _SENTINEL_LONG
    return {"string": _SENTINEL_TEXT, "bytes": _SENTINEL_TEXT.encode(), "boolean": True}.get(
        avro, _SENTINEL_LONG
    )


def _selection(column: Column, written: Column | None) -> pl.Expr:
    if written is None:
        if not column.nullable and column.default is None:
            raise SchemaMismatchError(f"no field {column.name}")
        return pl.lit(column.default, dtype=DTYPES[column.avro]).alias(column.name)
    if (written.avro, written.nullable) != (column.avro, column.nullable):
        raise SchemaMismatchError(f"field {column.name}: {written.avro}, not {column.avro}")
    # Enums arrive as categories, which pgpq cannot encode.
    return pl.col(column.name).cast(pl.String) if column.avro == "enum" else pl.col(column.name)
