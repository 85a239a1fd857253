"""A session's last report, kept beside its spool to be sent when all events are."""

import contextlib
import os

_NAME = "last-report"


def keep(directory: int, body: bytes) -> None:
    """Write it durably, below the directory's descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(_NAME, flags, 0o600, dir_fd=directory)
    try:
        os.write(file, body)
        os.fsync(file)
    finally:
        os.close(file)


def kept(directory: int) -> bytes | None:
    """What was kept."""
    try:
        file = os.open(_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb") as stream:
        return stream.read()


def remove(directory: int) -> None:
    """It has arrived."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_NAME, dir_fd=directory)
