"""Where a run keeps what outlives it: the state directory, ours alone by its lock, and the bpffs."""

import fcntl
import logging
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fsmon_schemas.errors import ConfigError

from fsmon_producer import bpffs
from fsmon_producer.config import Config
from fsmon_producer.identity import started
from fsmon_producer.pins import Pins

_log = logging.getLogger(__name__)
_LOCK = "producer.lock"


class StateTakenError(ConfigError):
    """Another producer runs on this state."""


class State:
    """Owned from construction to ``close``, however this process ends."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if need be. ConfigError where it is not to be had or not ours alone."""
        self.directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            must_be_ours(directory)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(directory / _LOCK, flags, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)
        except BlockingIOError as error:
            owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            os.close(self._lock)
            raise StateTakenError(
                f"another producer (pid {owner}) has {directory}: stop it first, or give this one a "
                "--state-dir of its own"
            ) from error
        except OSError as error:
            raise ConfigError(f"--state-dir {directory}: {error.strerror}") from error

    def close(self) -> None:
        """Let the next one have it."""
        os.close(self._lock)


def must_be_ours(directory: Path) -> None:
    """ConfigError unless it is a directory, no link, that nobody else can write to or look into."""
    about = directory.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise ConfigError(f"{directory} should be a directory of uid {os.geteuid()} with mode 0700")


def bpffs_of(config: Config) -> Path:
    """Where the configuration wants pins."""
    return config.bpffs or config.state_dir / "bpf"


@dataclass(frozen=True)
class Kept:
    """What this run owns until it ends; without ``pins`` capture ends with the process."""

    pins: Pins | None
    spools: Path  # a directory a session


def kept(config: Config, open_things: ExitStack) -> Kept:
    """Own the state until ``open_things`` is closed; ConfigError where another producer has it.

    That nothing can be pinned is said loudly, and no error.
    """
    before, pid = Pins(bpffs_of(config)), os.getpid()
    # Before anything is touched: what the producer before us has attached would report it.
    before.ignore(pid, started(pid))
    try:
        state = State(config.state_dir)
    except StateTakenError:
        before.heed(pid)
        raise
    open_things.callback(state.close)
    pins = None
    try:
        pins = Pins(bpffs.prepare(bpffs_of(config)))
    except bpffs.NoBpffsError as error:
        _log.error(
            "NOTHING CAN BE PINNED (%s): capture ends with this process, and a restart leaves a gap that the "
            "ledger shows by its time span only; give --bpffs a directory on a bpffs",
            error,
        )
    return Kept(pins, config.state_dir / "spool")
