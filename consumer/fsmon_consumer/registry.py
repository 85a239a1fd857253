"""Writer schemas by the name a message's frame gives them."""

from collections.abc import Iterable
from importlib.resources import files

from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema
from fsmon_schemas.framing import Fingerprint, RegistryId, SchemaRef
from fsmon_schemas.registry import RegistryClient, UnknownSchemaError

_TIMEOUT_SECONDS = 10.0


class WriterSchemas:
    """Finds a message's writer schema; ids are fetched once, fingerprints come with this package."""

    def __init__(self, url: str | None) -> None:
        """``url`` is RegistryClient's; None: only single-object framing can be read."""
        self._known: dict[SchemaRef, Schema] = {
            Fingerprint(schema.fingerprint): schema for schema in _packaged_schemas()
        }
        self._client = RegistryClient(url, timeout=_TIMEOUT_SECONDS) if url is not None else None

    def find(self, ref: SchemaRef) -> Schema:
        """The schema named ``ref``; UnknownSchemaError for one that is none, else RegistryClient's errors."""
        schema = self._known.get(ref)
        if schema is None:
            if isinstance(ref, Fingerprint):
                raise UnknownSchemaError(
                    f"no released schema has the fingerprint {ref.crc.hex()}: producers newer than this?"
                )
            schema = self._known[ref] = self._fetch(ref)
        return schema

    def _fetch(self, ref: RegistryId) -> Schema:
        if self._client is None:
            raise UnknownSchemaError(f"schema {ref.id} of a registry, and none is configured (--registry)")
        try:
            found = self._client.call("GET", f"/schemas/ids/{ref.id}", wanted="schema")
        except UnknownSchemaError as error:
            raise UnknownSchemaError(f"schema {ref.id}: {error}") from error
        if found.get("schemaType", "AVRO") != "AVRO":
            raise UnknownSchemaError(f"schema {ref.id} of the registry is not Avro")
        schema = Schema(str(found["schema"]))
        try:
            record = schema.parsed["type"] == "record" and schema.field_names
        except Exception as error:  # fastavro raises what the text leads it to: KeyError, RecursionError, …
            raise UnknownSchemaError(f"schema {ref.id} of the registry cannot be read: {error!r}") from error
        if not record:
            raise UnknownSchemaError(f"schema {ref.id} of the registry is no record")
        return schema


def _packaged_schemas() -> Iterable[Schema]:
    yield FILE_EVENT
    yield CAPTURE_REPORT
    for file in (files("fsmon_schemas") / "released").iterdir():
        if file.name.endswith(".avsc"):
            yield Schema(file.read_text(encoding="utf-8"))
