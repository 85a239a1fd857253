"""One call to a schema registry with Confluent's API, and what its answers mean in our tree of errors.

Over the standard library, because the official client costs more than these lines save: it brings five
more packages onto every host, prints a deprecation warning at each start where an older one of them is
installed, and raises other libraries' exceptions. Which calls are made is each side's own.
"""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any

from fsmon_schemas.errors import ConfigError, FatalError, FsmonError, RetryableError

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_REFUSED = (401, 403)
_NOT_FOUND, _CONFLICT, _SERVER_FAULT = 404, 409, 500
_LATER = (408, 429)  # RFC 9110, 15.5.9; RFC 6585, 4: slower, please
# Confluent Schema Registry API reference, "Errors". 40402, no such version, is of calls that nobody makes.
_NO_SUBJECT, _NO_SCHEMA = 40401, 40403


class RegistryAwayError(RetryableError):
    """The registry does not answer, or answers that it cannot now."""


class UnknownSchemaError(FatalError):
    """There is no such schema, and asking again will not help."""


class RegistryClient:
    """The registry at ``url``; user:password@ in it means basic authentication.

    ConfigError for what is no address of one. Every call blocks at most ``timeout`` seconds.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a bracket or a port that is none
            sound = False
        if not sound or not url.isprintable() or " " in url:
            raise ConfigError("registry: should be a URL as http://127.0.0.1:8081/apis/ccompat/v7")
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE}
        if parts.username is not None:
            user, password = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
            token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
            self._headers["Authorization"] = f"Basic {token}"
        self._timeout = timeout

    def call(
        self, method: str, path: str, *, wanted: str, body: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer, which holds ``wanted`` at least.

        RegistryAwayError where asking again may help, UnknownSchemaError where the registry has not
        got what was named, FatalError where it refuses us or is no registry.
        """
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)  # noqa: S310 - http or https
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310 - as above
                answer: Any = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise _failure(error, path) from error
        except (OSError, HTTPException) as error:
            raise RegistryAwayError(f"the registry does not answer: {error!s:.200}") from error
        except ValueError as error:
            raise FatalError(f"{self._url} is not a schema registry: {error}: check --registry") from error
        if not isinstance(answer, dict) or wanted not in answer:
            raise FatalError(f"{self._url} is not a schema registry: no {wanted!r}: check --registry")
        return answer


def _failure(error: urllib.error.HTTPError, path: str) -> FsmonError:
    try:
        told = json.load(error)
        code, why = int(told["error_code"]), str(told["message"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        code, why = error.code, str(error.reason)
    if error.code in _REFUSED:
        return FatalError(f"the registry refuses us ({why}): check user and password in --registry")
    if code in (_NO_SUBJECT, _NO_SCHEMA):
        return UnknownSchemaError(f"the registry has no such schema ({why})")
    if error.code == _CONFLICT:
        return FatalError(
            f"the registry refuses the schema ({why}): an incompatible one is registered; "
            "use another topic, or the version of fsmon that matches it"
        )
    if error.code == _NOT_FOUND:
        return FatalError(f"the registry has no {path}: check the path in --registry, as …/apis/ccompat/v7")
    if error.code >= _SERVER_FAULT or error.code in _LATER:
        return RegistryAwayError(f"the registry fails: {why}")
    return FatalError(f"the registry answers {error.code}: {why}")
