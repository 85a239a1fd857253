"""A detached process that is found again by its pid file.

The pid file holds the pid and the process's start time, so that a pid which the kernel has since
given to somebody else is never signalled.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fsmon_schemas.errors import FsmonError

_POLL_SECONDS = 0.02
_TELL_SECONDS = 1.0


class ServiceError(FsmonError):
    """A local service did not start; the text ends with the last lines of its log."""


class Process:
    """One program with a log and a pid file in ``directory``; owns neither data nor ports."""

    def __init__(self, name: str, directory: Path, *, tell: signal.Signals | None = None) -> None:
        """``tell`` makes the program write into its log what it is doing, for when it does not get ready."""
        self.name = name
        self._tell = tell
        self.directory = directory
        self.log = directory / f"{name}.log"
        self._pid_file = directory / f"{name}.pid"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the running process, None when it does not run."""
        try:
            pid, started = (int(word) for word in self._pid_file.read_text().split())
        except FileNotFoundError:
            return None
        state, start = _state(pid)
        return pid if start == started and state not in "ZX" else None

    def launch(self, argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Run ``argv`` in a session of its own and return at once; nothing if it runs already."""
        if self.pid is not None:
            return
        self._forget()
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        # Until we wait for it, a child that has ended already is a zombie that still tells its start.
        self._pid_file.write_text(f"{self._child.pid} {_state(self._child.pid)[1]}\n")

    def wait(self, ready: Callable[[], bool], timeout: float) -> None:
        """Return once ``ready()`` is true.

        Raises ServiceError, with the log's tail, if the process ends first or needs more than
        ``timeout`` seconds; nothing is left running then.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if self.pid is None:
                self._forget()
                raise ServiceError(f"{self.name} ended while it started; {self._tail()}")
            if time.monotonic() > deadline:
                self._ask()
                self.kill()
                raise ServiceError(f"{self.name} was not ready after {timeout:.0f} s; {self._tail()}")
            time.sleep(_POLL_SECONDS)

    def stop(self, timeout: float, polite: signal.Signals = signal.SIGTERM) -> int | None:
        """Send ``polite``, wait ``timeout`` seconds, then SIGKILL.

        Returns when it is gone: its exit code if this object launched it, else None.
        """
        pid = self.pid
        if pid is not None:
            os.kill(pid, polite)
            if not self._gone_within(timeout):
                return self.kill()
        return self._forget()

    def kill(self) -> int | None:
        """SIGKILL, as a crash would; returns as ``stop`` does."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self._gone_within(60)
        return self._forget()

    def _ask(self) -> None:
        pid = self.pid
        if pid is not None and self._tell is not None:
            os.kill(pid, self._tell)
            time.sleep(_TELL_SECONDS)

    def _gone_within(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _forget(self) -> int | None:
        self._pid_file.unlink(missing_ok=True)
        if self._child is None:
            return None
        code = self._child.wait()
        self._child = None
        return code

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        return "\n".join([f"the end of {self.log}:", *lines])


def stop_all(directory: Path) -> None:
    """End what a killed run left behind: processes whose pid files lie below ``directory``, captures."""
    for pid_file in directory.rglob("*.pid"):
        if pid_file.name != "postmaster.pid":  # PostgreSQL's own, inside its data
            Process(pid_file.stem, pid_file.parent).kill()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FSMON_")}
    for lock in directory.rglob("producer.lock"):
        command = [
            str(Path(sys.executable).parent / "fsmon-producer"),
            "detach",
            f"--state-dir={lock.parent}",
        ]
        subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False)


def _state(pid: int) -> tuple[str, int]:
    """One letter of state, and the clock ticks since boot at which ``pid`` started; "X" if it is gone.

    Source: proc(5), /proc/pid/stat fields 3 and 22, counted behind the parenthesised name.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return fields[0], int(fields[19])
