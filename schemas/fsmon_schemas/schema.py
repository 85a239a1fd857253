"""The Avro schemas as Python objects."""

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form


@dataclass(frozen=True)
class Schema:
    """One Avro record schema: ``text`` is the JSON source as it is registered."""

    text: str

    @cached_property
    def declared(self) -> dict[str, Any]:
        """The JSON as written, with docs and logical types."""
        declared: dict[str, Any] = json.loads(self.text)
        return declared

    @cached_property
    def parsed(self) -> dict[str, Any]:
        """The form fastavro reads and writes with."""
        parsed = fastavro.parse_schema(self.declared)
        assert isinstance(parsed, dict)
        return parsed

    @cached_property
    def field_names(self) -> tuple[str, ...]:
        """Names of the record's fields in the order they are written."""
        return tuple(field["name"] for field in self.declared["fields"])

    @cached_property
    def fingerprint(self) -> bytes:
        """CRC-64-AVRO of the canonical form, 8 bytes, little-endian.

        Source: Avro specification 1.12, "Schema Fingerprints" and "Single object encoding".
        """
        canonical = to_parsing_canonical_form(self.declared)
        # fastavro gives the fingerprint's little-endian bytes as hex digits.
        return bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def load_schema(name: str) -> Schema:
    """Read ``<name>.avsc`` from this package; FileNotFoundError if there is none."""
    return Schema((files("fsmon_schemas") / f"{name}.avsc").read_text(encoding="utf-8"))


FILE_EVENT = load_schema("file_event")
CAPTURE_REPORT = load_schema("capture_report")
