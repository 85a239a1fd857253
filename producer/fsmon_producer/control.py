"""The Unix socket by which `fsmon-producer filter` talks to the running producer.

One request and one answer a connection, each a JSON object in a line:

    {"do": "add" | "remove" | "list", "path": "/etc", "exclude": false}
    {"rules": [{"path": …, "exclude": …, "inode": "major:minor:inode", "stands": …}]} or {"error": …}

A thread reads requests; they are answered by the thread that owns BCC, when the change is in force.
"""

import contextlib
import fcntl
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from fsmon_schemas.errors import ConfigError, FatalError, FsmonError

_log = logging.getLogger(__name__)

_LONGEST_REQUEST = 64 << 10
_PEER_SECONDS = 5.0  # for a client to say what it wants
_ANSWER_SECONDS = 30.0
_NOBODY = (ConnectionRefusedError, FileNotFoundError, NotADirectoryError)

Message = dict[str, Any]


class SocketTakenError(ConfigError):
    """Another producer listens there."""


class Control:
    """Listens from construction to ``close``; ``serve`` answers what has come in."""

    def __init__(self, path: Path) -> None:
        """SocketTakenError or ConfigError where it cannot listen there."""
        self._path = path
        self._requests: SimpleQueue[tuple[Message, Future[Message]]] = SimpleQueue()
        try:
            with contextlib.suppress(FileExistsError):
                path.parent.mkdir(mode=0o700)
            # Held until this process ends, however it ends: a socket left by a killed one is told by it.
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)
            try:
                self._socket.bind(str(path))
            finally:
                os.umask(before)
            self._socket.listen()
        except BlockingIOError as error:
            raise SocketTakenError(f"another producer listens at {path}") from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"--control {path}: {error}") from error
        self._thread = threading.Thread(target=self._accept, daemon=True, name="control")
        self._thread.start()

    def serve(self, answer: Callable[[Message], Message]) -> None:
        """Answer every request that waits; FsmonError becomes its text."""
        with contextlib.suppress(Empty):
            while True:
                request, future = self._requests.get_nowait()
                if future.set_running_or_notify_cancel():
                    try:
                        future.set_result(answer(request))
                    except FsmonError as error:
                        future.set_result({"error": str(error)})

    def close(self) -> None:
        """Stop listening; who still waits is told so."""
        self._path.unlink(missing_ok=True)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.serve(lambda _: {"error": "the producer is stopping"})
        os.close(self._lock)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            with connection:
                try:
                    connection.settimeout(_PEER_SECONDS)
                    connection.sendall(json.dumps(self._converse(connection)).encode() + b"\n")
                except OSError as error:
                    _log.info("a client of %s went away: %s", self._path, error)

    def _converse(self, connection: socket.socket) -> Message:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        with connection.makefile("rb") as stream:
            line = stream.readline(
                _LONGEST_REQUEST
            )  # of strangers, too: who still writes would not read the answer
        if uid not in (0, os.geteuid()):
            return {"error": f"uid {uid} may not change what is watched"}
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            return {"error": f"no JSON in a line: {error}"}
        if not isinstance(request, dict):
            return {"error": "no JSON object"}
        future: Future[Message] = Future()
        self._requests.put((request, future))
        try:
            return future.result(_ANSWER_SECONDS)
        except FutureTimeoutError:
            if future.cancel():
                return {"error": f"the producer is busy since {_ANSWER_SECONDS:.0f} s; nothing was changed"}
            return future.result()


def ask(path: Path, request: Message) -> Message:
    """The running producer's answer; FatalError where none runs, or with what it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2 * _ANSWER_SECONDS)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
    except _NOBODY as error:
        raise FatalError(
            f"no producer listens at {path}: start one with `fsmon-producer run`, "
            "or say with --control where it listens"
        ) from error
    except OSError as error:
        raise FatalError(f"cannot talk to the producer at {path}: {error}") from error
    if not line:
        raise FatalError(f"the producer at {path} ended without an answer")
    answer = json.loads(line)
    assert isinstance(answer, dict)
    if "error" in answer:
        raise FatalError(str(answer["error"]))
    return answer
