"""file_event.avsc keeps to what the kernel's encoder, fastavro, polars and pgpq all read alike."""

import random
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from fsmon_consumer import records
from fsmon_consumer.columns import BlockReader
from fsmon_schemas import reference
from fsmon_schemas.schema import CAPTURE_REPORT, FILE_EVENT, Schema

_ROOT = Path(__file__).resolve().parents[2]
_FIELDS: list[dict[str, Any]] = FILE_EVENT.declared["fields"]

# int is out: polars reads a u32 above 2**31 as negative, and int -> long cannot be mended later.
# float, array, map, record, wider unions: not read by one of the four. fixed: by pgpq as bytea only
# when polars has made it binary, which it does not for a nullable one.
_PRIMITIVES = {"boolean", "long", "double", "string", "bytes"}
_LOGICAL = {"timestamp-micros"}

_LONGS = [0, 1, -1, 63, 64, -64, -65, 2**31 - 1, 2**31, 2**32 - 2, 2**53 + 1, -(2**63), 2**63 - 1]
_STRINGS = ["", "a", "/tmp/x", "é", "\u0000", "日本語", "😀", "\\xff", "\x7f\x80", "/p" * 2047 + "q"]
_BYTES = [b"", b"\x00", b"\xff\xfe", bytes(range(256)), b"/" * 4095]


def _refusal(avro: Any, *, nullable: bool = False) -> str | None:
    """Why a field of this type would not be read alike; None if it would."""
    match avro:
        case str() if avro in _PRIMITIVES:
            return None
        case ["null", inner] if not nullable:
            return _refusal(inner, nullable=True)
        case {"type": "long", "logicalType": logical} if logical in _LOGICAL:
            return None
        case {"type": "enum"} if nullable:
            return "polars panics on a nullable enum"
        case {"type": "enum", "symbols": ["unknown", *_], "default": "unknown"}:
            return None
        case {"type": "enum"}:
            return "an enum starts with and defaults to `unknown`"
    return f"{avro} is not read alike"


@pytest.mark.parametrize("field", _FIELDS, ids=lambda field: field["name"])
def test_every_field_has_a_type_that_all_read_alike(field: dict[str, Any]) -> None:
    assert _refusal(field["type"]) is None


@pytest.mark.parametrize(
    "avro",
    [
        "int",
        "float",
        "null",
        {"type": "array", "items": "long"},
        {"type": "map", "values": "long"},
        {"type": "record", "name": "R", "fields": []},
        {"type": "fixed", "name": "F", "size": 8},
        ["null", "long", "string"],
        ["long", "null"],
        ["null", {"type": "enum", "name": "E", "symbols": ["unknown"], "default": "unknown"}],
        {"type": "enum", "name": "E", "symbols": ["a", "unknown"], "default": "unknown"},
        {"type": "enum", "name": "E", "symbols": ["unknown", "a"]},
        {"type": "long", "logicalType": "timestamp-millis"},
    ],
    ids=str,
)
def test_other_types_are_refused(avro: Any) -> None:
    assert _refusal(avro) is not None


@pytest.mark.parametrize("schema", [FILE_EVENT, CAPTURE_REPORT], ids=["event", "report"])
def test_every_field_is_documented_for_the_reference_page(schema: Schema) -> None:
    undocumented = [f["name"] for f in schema.declared["fields"] if not f.get("doc", "").endswith(".")]
    assert undocumented == []


def test_every_enum_field_has_its_own_default() -> None:
    enums = [f for f in _FIELDS if isinstance(f["type"], dict) and f["type"]["type"] == "enum"]
    assert {f["name"]: f.get("default") for f in enums} == {f["name"]: "unknown" for f in enums}


def test_polars_reads_random_events_as_fastavro_wrote_them() -> None:
    dice = random.Random(random.getrandbits(64))  # seeded by pytest-randomly
    rows = [{field["name"]: _value(dice, field["type"]) for field in _FIELDS} for _ in range(2_000)]
    bodies = [records.encode(FILE_EVENT, row) for row in rows]
    frame = BlockReader(FILE_EVENT).read(bodies, [row["host_id"].encode() for row in rows])
    for field in _FIELDS:
        column = frame.get_column(field["name"])
        if "timestamp-micros" in str(field["type"]):
            column = column.to_physical()  # datetime ends at the year 9999, a long does not
        assert column.to_list() == [row[field["name"]] for row in rows], field["name"]


def test_every_operation_is_mapped_to_ocsf() -> None:
    (symbols,) = (f["type"]["symbols"] for f in _FIELDS if f["name"] == "op")
    assert list(reference.OPERATIONS) == symbols


@pytest.mark.parametrize(("column", "which"), [("activity_id", 0), ("event.type", 1)])
def test_the_consumers_views_map_operations_as_the_page_says(column: str, which: int) -> None:
    views = (files("fsmon_consumer") / "sql" / "migrations" / "0002_views.sql").read_text(encoding="utf-8")
    case = re.search(rf"CASE op((?:(?!CASE).)*?)END AS \"?{re.escape(column)}\"?", views, re.DOTALL)
    assert case is not None
    mapped = dict(re.findall(r"WHEN '(\w+)' THEN '?(\w+)", case[1]))
    (default,) = re.findall(r"ELSE '?(\w+)", case[1])
    documented = {op: str(mapping[which]) for op, mapping in reference.OPERATIONS.items()}
    assert documented == {op: mapped.get(op, default) for op in reference.OPERATIONS}


def test_the_reference_page_is_not_stale() -> None:
    written = (_ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    assert written == reference.page(), "run `make docs` and commit docs/schema.md"


def _value(dice: random.Random, avro: Any) -> Any:
    match avro:
        case ["null", inner]:
            return None if dice.random() < 0.3 else _value(dice, inner)
        case {"type": "enum", "symbols": symbols}:
            return dice.choice(symbols)
        case "long" | {"type": "long"}:
            return dice.choice([*_LONGS, dice.getrandbits(64) - 2**63])
        case "double":
            return dice.choice([0.0, -1.5, 1e308, 5e-324, float("inf")])
        case "string":
            return dice.choice(_STRINGS)
        case "bytes":
            return dice.choice(_BYTES)
        case "boolean":
            return dice.random() < 0.5
    raise AssertionError(avro)
