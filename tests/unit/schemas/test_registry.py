"""What the registry client makes of answers no healthy registry gives; healthy ones: integration tests."""

from typing import Any

import pytest
from fsmon_schemas.errors import ConfigError, FatalError, FsmonError, RetryableError
from fsmon_schemas.registry import RegistryAwayError, RegistryClient, UnknownSchemaError
from unit.fake_registry import answering


def ask(url: str) -> Any:
    return RegistryClient(url, timeout=2).call("POST", "/subjects/s", wanted="id", body={"schema": "x"})["id"]


@pytest.mark.parametrize(
    ("status", "body", "error", "told"),
    [
        (404, {"error_code": 40401, "message": "no subject"}, UnknownSchemaError, "no subject"),
        (404, {"error_code": 40403, "message": "no schema"}, UnknownSchemaError, "no schema"),
        (404, b"<html>not here</html>", FatalError, "check the path in --registry"),
        (401, b"", FatalError, "user and password"),
        (403, {"error_code": 40301, "message": "no"}, FatalError, "user and password"),
        (409, {"error_code": 409, "message": "incompatible"}, FatalError, "incompatible one is registered"),
        (422, {"error_code": 42201, "message": "odd"}, FatalError, "odd"),
        (429, b"", RetryableError, "the registry fails"),
        (500, {"error_code": 50001, "message": "store"}, RetryableError, "store"),
        (503, b"", RetryableError, "the registry fails"),
        (200, b"<html>hello</html>", FatalError, "is not a schema registry"),
        (200, {"no": "id"}, FatalError, "is not a schema registry"),
        (200, [1], FatalError, "is not a schema registry"),
    ],
)
def test_every_answer_has_its_error(status: int, body: Any, error: type[FsmonError], told: str) -> None:
    with answering(status, body) as registry, pytest.raises(error, match=told) as raised:
        ask(f"http://user:hunter2@{registry.address}")
    assert "hunter2" not in str(raised.value)
    assert isinstance(raised.value, UnknownSchemaError) == (error is UnknownSchemaError)


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_that_is_cut_short_may_come_whole(status: int) -> None:
    with answering(status, b'{"id": ', cut=9) as registry, pytest.raises(RegistryAwayError):
        ask(f"http://{registry.address}")


def test_user_and_password_of_the_url_are_sent() -> None:
    with answering(200, {"id": 7}) as registry:
        assert ask(f"http://us%40er:p%3Aw@{registry.address}/base/") == 7
        assert registry.seen == [("POST", "/base/subjects/s", "Basic dXNAZXI6cDp3")]


def test_a_registry_that_is_away_may_come_back() -> None:
    with pytest.raises(RegistryAwayError, match="does not answer"):
        ask("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8081",
        "file:///etc/passwd",
        "http://",
        "ftp://host",
        "http://host:port",
        "http://[::1",
        "http://host/a path",
    ],
)
def test_only_a_web_address_is_a_registry(url: str) -> None:
    with pytest.raises(ConfigError, match="should be a URL"):
        RegistryClient(url, timeout=2)
