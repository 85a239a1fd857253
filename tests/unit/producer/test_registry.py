"""What the registry client makes of answers no healthy registry gives; healthy ones: integration tests."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
from fsmon_producer.registry import Registry, UnknownSchemaError
from fsmon_schemas.errors import ConfigError, FatalError, FsmonError, RetryableError
from fsmon_schemas.schema import FILE_EVENT


class Answers(BaseHTTPRequestHandler):
    status: ClassVar[int]
    body: ClassVar[bytes]
    seen: ClassVar[list[tuple[str, str, str | None]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.command, self.path, self.headers["Authorization"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Answers.seen.clear()
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def answer(status: int, body: Any) -> None:
    Answers.status = status
    Answers.body = body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize(
    ("status", "body", "error", "told"),
    [
        (404, {"error_code": 40401, "message": "no subject"}, UnknownSchemaError, "topics create"),
        (404, {"error_code": 40403, "message": "no schema"}, UnknownSchemaError, "topics create"),
        (404, b"<html>not here</html>", FatalError, "check the path in --registry"),
        (401, b"", FatalError, "user and password"),
        (403, {"error_code": 40301, "message": "no"}, FatalError, "user and password"),
        (409, {"error_code": 409, "message": "incompatible"}, FatalError, "incompatible one is registered"),
        (422, {"error_code": 42201, "message": "odd"}, FatalError, "odd"),
        (500, {"error_code": 50001, "message": "store"}, RetryableError, "store"),
        (503, b"", RetryableError, "the registry fails"),
        (200, b"<html>hello</html>", FatalError, "is not a schema registry"),
        (200, {"no": "id"}, FatalError, "is not a schema registry"),
        (200, [1], FatalError, "is not a schema registry"),
    ],
)
def test_every_answer_has_its_error(
    server: str, status: int, body: Any, error: type[FsmonError], told: str
) -> None:
    answer(status, body)
    with pytest.raises(error, match=told) as raised:
        Registry(f"http://user:hunter2@{server}").schema_id("topic", FILE_EVENT)
    assert "hunter2" not in str(raised.value)


def test_user_and_password_of_the_url_are_sent_and_subjects_are_quoted(server: str) -> None:
    answer(200, {"id": 7})
    assert Registry(f"http://us%40er:p%3Aw@{server}/base/").schema_id("a/b", FILE_EVENT) == 7
    assert Answers.seen == [("POST", "/base/subjects/a%2Fb-value", "Basic dXNAZXI6cDp3")]


def test_a_registry_that_is_away_may_come_back() -> None:
    with pytest.raises(RetryableError, match="does not answer"):
        Registry("http://127.0.0.1:1").schema_id("topic", FILE_EVENT)


@pytest.mark.parametrize("url", ["127.0.0.1:8081", "file:///etc/passwd", "http://", "ftp://host"])
def test_only_a_web_address_is_a_registry(url: str) -> None:
    with pytest.raises(ConfigError, match="should be a URL"):
        Registry(url)
