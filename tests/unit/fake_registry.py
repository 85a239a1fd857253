"""A registry that gives the one answer a test wants, healthy or not."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


@dataclass
class FakeRegistry:
    """``address`` is host:port; ``seen`` holds method, path and Authorization of each request."""

    address: str
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)


@contextmanager
def answering(status: int, body: Any, *, cut: int = 0) -> Iterator[FakeRegistry]:
    """Answers everything with ``body`` (bytes as they are, else as JSON), promising ``cut`` bytes more."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            fake.seen.append((self.command, self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(data) + cut))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    fake = FakeRegistry(f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
