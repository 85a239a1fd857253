"""Writer schemas by the name a message's frame gives them.

One call of Confluent's API over the standard library: the official client would bring httpx,
authlib and more for it, a deprecation warning with every start, and other libraries' exceptions.
"""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from fsmon_schemas import (
    CAPTURE_REPORT,
    FILE_EVENT,
    ConfigError,
    FatalError,
    FsmonError,
    RetryableError,
    Schema,
)
from fsmon_schemas.framing import Fingerprint, RegistryId, SchemaRef

_TIMEOUT_SECONDS = 10.0
_ACCEPT = "application/vnd.schemaregistry.v1+json"


class UnknownSchemaError(FsmonError):
    """Nobody knows this schema, and asking again will not help: the message is a dead letter."""


class RegistryAwayError(RetryableError):
    """The registry does not answer, or answers that it cannot now."""


class WriterSchemas:
    """Finds a message's writer schema; ids are fetched once, fingerprints come with this package."""

    def __init__(self, url: str | None) -> None:
        """``url`` may hold user:password@; None: only single-object framing can be read."""
        self._known: dict[SchemaRef, Schema] = {
            Fingerprint(schema.fingerprint): schema for schema in _packaged_schemas()
        }
        self._url: str | None = None
        self._headers = {"Accept": _ACCEPT}
        if url is not None:
            parts = urllib.parse.urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ConfigError("registry: expected a URL as http://127.0.0.1:8081/apis/ccompat/v7")
            self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
            if parts.username is not None:
                user = urllib.parse.unquote(parts.username) + ":" + urllib.parse.unquote(parts.password or "")
                self._headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()

    def find(self, ref: SchemaRef) -> Schema:
        """The schema named ``ref``.

        UnknownSchemaError for one that does not exist, RegistryAwayError when that cannot be told
        now, FatalError where the registry refuses us.
        """
        schema = self._known.get(ref)
        if schema is None:
            if isinstance(ref, Fingerprint):
                raise UnknownSchemaError(
                    f"no released schema has the fingerprint {ref.crc.hex()}: producers newer than this?"
                )
            schema = self._known[ref] = self._fetch(ref)
        return schema

    def _fetch(self, ref: RegistryId) -> Schema:
        if self._url is None:
            raise UnknownSchemaError(f"schema {ref.id} of a registry, and none is configured (--registry)")
        request = urllib.request.Request(f"{self._url}/schemas/ids/{ref.id}", headers=self._headers)  # noqa: S310 - http(s) only, checked above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - as above
                found: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    raise UnknownSchemaError(f"the registry has no schema {ref.id}") from error
                if error.code in {401, 403}:
                    raise FatalError(
                        f"the schema registry refuses us ({error.code}); check the user in --registry"
                    ) from error
                raise RegistryAwayError(f"the schema registry cannot answer: HTTP {error.code}") from error
        except (OSError, ValueError) as error:
            raise RegistryAwayError(f"the schema registry at {self._url} does not answer: {error}") from error
        if found.get("schemaType", "AVRO") != "AVRO" or not isinstance(found.get("schema"), str):
            raise UnknownSchemaError(f"schema {ref.id} of the registry is not Avro")
        return Schema(found["schema"])


def _packaged_schemas() -> Iterable[Schema]:
    yield FILE_EVENT
    yield CAPTURE_REPORT
    for file in (files("fsmon_schemas") / "released").iterdir():
        if file.name.endswith(".avsc"):
            yield Schema(file.read_text(encoding="utf-8"))
