"""All sessions' spools: a directory each, and one bound on what they take of the disk."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from fsmon_producer.config import DROP_OLDEST, Config
from fsmon_producer.identity import Session
from fsmon_producer.pins import Identity
from fsmon_producer.spool import Spool

_SESSION = re.compile("[0-9a-f]{1,16}")


def spool_of(
    spools: Path, session: Session, config: Config, identity: Callable[[], Identity]
) -> Spool | None:
    """The session's own; None where the configuration wants none and none was left.

    All sessions' together are bounded, each reboot during an outage leaves one; with drop-oldest each is.
    """
    directory = spools / f"{session.id:x}"
    if not config.spool_size and not (directory.is_dir() and any(directory.iterdir())):
        return None
    drop_oldest = config.spool_full == DROP_OLDEST
    return Spool(
        directory,
        session.id,
        config.spool_size,
        identity,
        drop_oldest=drop_oldest,
        # Where the oldest goes for the newest, it is the session's own.
        others=(lambda: 0) if drop_oldest else (lambda: _bytes_beside(directory)),
    )


def _bytes_beside(directory: Path) -> int:
    """Of the other sessions' spools."""
    total = 0
    for file in directory.parent.glob("*/*.avro"):
        if file.parent != directory:
            with contextlib.suppress(FileNotFoundError):
                total += file.lstat().st_size
    return total


def sessions_in(spools: Path) -> list[int]:
    """The sessions that have a spool; what else lies there is none of ours."""
    names = [path.name for path in spools.iterdir() if path.is_dir()] if spools.exists() else []
    return [int(name, 16) for name in names if _SESSION.fullmatch(name)]
