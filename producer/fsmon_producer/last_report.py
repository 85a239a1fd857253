"""A session's last report, kept in its spool to be sent when all events are: also where there are none.

A line of JSON that says whose it is, and the report's body, behind their SHA-256: what a kill, a full disk or
others have made of the file is told from what was written.
"""

import contextlib
import hashlib
import logging
import os

from fsmon_producer.pins import Identity

_NAME = "last-report"
_DIGEST = hashlib.sha256
_log = logging.getLogger(__name__)


def keep(directory: int, identity: Identity, body: bytes) -> None:
    """Write it durably, below the directory's descriptor; OSError where the disk refuses."""
    content = identity.as_json() + b"\n" + body
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(_NAME, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(_DIGEST(content).digest() + content)
        file.flush()
        os.fsync(file.fileno())
    os.fsync(directory)


def kept(directory: int) -> tuple[Identity, bytes] | None:
    """What was kept; None where nothing was, or it is damaged."""
    try:
        file = os.open(_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb") as stream:
        whole = stream.read()
    digest, content = whole[: _DIGEST().digest_size], whole[_DIGEST().digest_size :]
    if _DIGEST(content).digest() != digest:
        _log.error("a session's kept last report is damaged: the audit shows that session's end as unknown")
        return None
    identity, _, body = content.partition(b"\n")
    return Identity.of_json(identity), body


def remove(directory: int) -> None:
    """It has arrived."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_NAME, dir_fd=directory)
