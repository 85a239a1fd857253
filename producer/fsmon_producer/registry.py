"""The schema registry: which id stands for the schemas we write.

Three calls of Confluent's API over the standard library: the official client would bring five
more packages onto every host. Only ``register`` writes, and only ``topics create`` calls it.
"""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from fsmon_schemas.errors import ConfigError, FatalError, FsmonError, RetryableError
from fsmon_schemas.schema import Schema

COMPATIBILITY = "FULL_TRANSITIVE"
_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_REFUSED = (401, 403)
_NOT_FOUND, _CONFLICT, _SERVER_FAULT = 404, 409, 500
_NO_SUBJECT, _NO_SCHEMA = 40401, 40403  # Confluent Schema Registry API reference, "Errors"


class UnknownSchemaError(FatalError):
    """The registry does not hold the schema."""


class Registry:
    """A Confluent-compatible registry at ``url``; user:password@ in it means basic authentication.

    Every call blocks at most ``timeout`` seconds; RetryableError if the registry is away.
    """

    def __init__(self, url: str, timeout: float = 2.0) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("registry: should be a URL as http://127.0.0.1:8081/apis/ccompat/v7")
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE}
        if parts.username is not None:
            user, password = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
            token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
            self._headers["Authorization"] = f"Basic {token}"
        self._timeout = timeout

    def schema_id(self, topic: str, schema: Schema) -> int:
        """The id under which exactly this schema is registered for the topic's values."""
        return int(self._call("POST", f"/subjects/{_subject(topic)}", "id", {"schema": schema.text}))

    def register(self, topic: str, schema: Schema) -> int:
        """Register the schema for the topic's values, compatible in both directions with all before it."""
        path = f"/subjects/{_subject(topic)}/versions"
        schema_id = int(self._call("POST", path, "id", {"schema": schema.text}))
        wanted = {"compatibility": COMPATIBILITY}
        self._call("PUT", f"/config/{_subject(topic)}", "compatibility", wanted)
        return schema_id

    def compatibility(self, topic: str) -> str:
        """The compatibility level set for the topic's values, or the registry's own."""
        path = f"/config/{_subject(topic)}?defaultToGlobal=true"
        return str(self._call("GET", path, "compatibilityLevel"))

    def _call(self, method: str, path: str, wanted: str, body: dict[str, str] | None = None) -> Any:
        """The value of ``wanted`` in the answer."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)  # noqa: S310 - http or https
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310 - as above
                return json.load(response)[wanted]
        except urllib.error.HTTPError as error:
            with error:
                raise _failure(error, path) from error
        except OSError as error:
            raise RetryableError(f"the registry does not answer: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise FatalError(f"{self._url} is not a schema registry: {error}: check --registry") from error


def _subject(topic: str) -> str:
    return urllib.parse.quote(f"{topic}-value", safe="")


def _failure(error: urllib.error.HTTPError, path: str) -> FsmonError:
    try:
        told = json.load(error)
        code, why = int(told["error_code"]), str(told["message"])
    except (ValueError, KeyError, TypeError):
        code, why = error.code, str(error.reason)
    if error.code in _REFUSED:
        return FatalError(f"the registry refuses us ({why}): check user and password in --registry")
    if code in (_NO_SUBJECT, _NO_SCHEMA):
        return UnknownSchemaError(
            f"the registry does not hold this version's schema ({why}): "
            "run `fsmon-producer topics create` with the same --registry"
        )
    if error.code == _CONFLICT:
        return FatalError(
            f"the registry refuses the schema ({why}): an incompatible one is registered; "
            "use another topic, or the version of fsmon that matches it"
        )
    if error.code == _NOT_FOUND:
        return FatalError(f"the registry has no {path}: check the path in --registry, as …/apis/ccompat/v7")
    if error.code >= _SERVER_FAULT:
        return RetryableError(f"the registry fails: {why}")
    return FatalError(f"the registry answers {error.code}: {why}")
