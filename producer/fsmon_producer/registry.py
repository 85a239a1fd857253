"""The producer's side of the schema registry: which id stands for the schemas we write.

Only ``register`` writes, and only ``topics create`` calls it.
"""

import urllib.parse

from fsmon_schemas.registry import RegistryClient, UnknownSchemaError
from fsmon_schemas.schema import Schema

COMPATIBILITY = "FULL_TRANSITIVE"
_TIMEOUT_SECONDS = 2.0  # the delivering thread asks, and has a signal to answer to


class Registry:
    """The ids of our schemas in the registry at ``url``; errors are RegistryClient's."""

    def __init__(self, url: str) -> None:
        self._client = RegistryClient(url, timeout=_TIMEOUT_SECONDS)

    def schema_id(self, topic: str, schema: Schema) -> int:
        """The id under which exactly this schema is registered for the topic's values."""
        path = f"/subjects/{_subject(topic)}"
        try:
            return int(self._client.call("POST", path, wanted="id", body={"schema": schema.text})["id"])
        except UnknownSchemaError as error:
            raise UnknownSchemaError(
                f"{error}: run `fsmon-producer topics create` with the same --registry"
            ) from error

    def register(self, topic: str, schema: Schema) -> int:
        """Register the schema for the topic's values, compatible in both directions with all before it."""
        path = f"/subjects/{_subject(topic)}/versions"
        answer = self._client.call("POST", path, wanted="id", body={"schema": schema.text})
        level = {"compatibility": COMPATIBILITY}
        self._client.call("PUT", f"/config/{_subject(topic)}", wanted="compatibility", body=level)
        return int(answer["id"])

    def compatibility(self, topic: str) -> str:
        """The compatibility level set for the topic's values, or the registry's own."""
        path = f"/config/{_subject(topic)}?defaultToGlobal=true"
        return str(self._client.call("GET", path, wanted="compatibilityLevel")["compatibilityLevel"])


def _subject(topic: str) -> str:
    return urllib.parse.quote(f"{topic}-value", safe="")
