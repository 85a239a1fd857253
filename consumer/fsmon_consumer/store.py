"""The connection to PostgreSQL: the only module that imports psycopg.

Errors are sorted by SQLSTATE, never by psycopg's class: a COPY column of the wrong width is 08P01,
which psycopg calls an OperationalError as it calls a lost connection, and would be retried for ever.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, cast

import psycopg
from fsmon_schemas import ConfigError, FatalError, FsmonError, RetryableError
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

# PostgreSQL manual, appendix A. A class is the first two characters.
# This transaction failed, the connection may be sound. 55000 is a partition that is half detached.
_AGAIN = {"40001", "40P01", "55000", "55P03", "57014", "25P03"}
_AWAY_CLASSES = {
    "08",
    "53",
    "57",
    "58",
    "25",
}  # connection, resources, operator intervention, i/o, read-only standby
_REFUSED_CLASSES = {"22", "23", "54"}  # data, integrity, program limit: these rows, whenever they come
_REMEDIES = {
    **dict.fromkeys(
        ("42P01", "42703", "3F000"), "; the schema is not this version's: run fsmon-consumer migrate"
    ),
    "42501": "; docs/security.md says which command needs which role",
    "08P01": "; the table's columns are not this version's: run fsmon-consumer migrate",
}
# libpq gives no SQLSTATE for a refused connection, and translates nothing it did not get translated:
# a server with other lc_messages is waited for with its own words in the log.
_NEVER_CONNECTS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
    "certificate verify failed",
    "does not match host name",
    "root certificate file",
    "server does not support SSL",
)


class DatabaseAwayError(RetryableError):
    """The connection is lost or the server cannot work now: connect again later."""


class TransactionConflictError(RetryableError):
    """The transaction lost against another one (deadlock, lock timeout): run it again."""


class NoPartitionError(RetryableError):
    """No partition of file_events takes a row (23514): plan partitions anew."""


class RowRefusedError(FsmonError):
    """PostgreSQL or its driver will refuse one of these rows however often it is sent."""


@cache
def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return (files("fsmon_consumer") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def as_json(value: object) -> object:
    """Wrap a value for a jsonb parameter."""
    return Jsonb(value)


def as_text(value: str) -> str:
    """A text as PostgreSQL takes it: U+0000 and lone surrogates, as others' words may hold, are escaped."""
    return value.replace("\0", "\\0").encode(errors="backslashreplace").decode()


class Database:
    """One connection, for one thread. Statements run in autocommit or in ``transaction()``."""

    def __init__(self, dsn: str, *, role: str) -> None:
        """``dsn`` may be empty: libpq's PG* variables hold then. ``role`` shows in pg_stat_activity."""
        try:
            given = conninfo_to_dict(dsn)
        except psycopg.Error as error:
            raise ConfigError(f"the DSN is not one that libpq understands: {error}") from error
        self._dsn = dsn
        # Without these a server that vanished behind a firewall is waited for a quarter of an hour.
        wanted = {
            "connect_timeout": "10",
            "tcp_user_timeout": "30000",
            "application_name": f"fsmon-consumer {role}",
        }
        variables = {"connect_timeout": "PGCONNECT_TIMEOUT", "application_name": "PGAPPNAME"}
        self._defaults = {
            name: value
            for name, value in wanted.items()
            if name not in given and not os.environ.get(variables.get(name, ""))
        }
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def connect(self) -> None:
        """Connect anew; DatabaseAwayError, or FatalError where the server will never let us in."""
        self.close()
        try:
            self._connection = psycopg.connect(
                self._dsn, autocommit=True, **cast("dict[str, Any]", self._defaults)
            )
        except psycopg.Error as error:
            text = " ".join(str(error).split())
            if any(pattern in text for pattern in _NEVER_CONNECTS):
                raise FatalError(
                    f"PostgreSQL refuses this connection: {text}; check --dsn, FSMON_DSN or the PG* variables"
                ) from error
            raise DatabaseAwayError(f"cannot connect to PostgreSQL: {text}") from error

    def close(self) -> None:
        """Drop the connection, whatever state it is in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: committed at the end of the block, rolled back by any exception."""
        with _sorted_errors(), self._open().transaction():
            yield

    def rows(
        self, query: str, parameters: Sequence[object] | dict[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; none where it returns none."""
        with _sorted_errors():
            cursor = self._open().execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def copy(self, query: str, chunks: Iterable[bytes]) -> int:
        """Send ``chunks`` through a COPY … FROM STDIN; returns the rows the server took."""
        with _sorted_errors(), self._open().cursor() as cursor:
            with cursor.copy(query) as copy:
                for chunk in chunks:
                    copy.write(chunk)
            return cursor.rowcount

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None:
            raise DatabaseAwayError("not connected to PostgreSQL")
        return self._connection


@contextmanager
def _sorted_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise _sort(error) from error
    except UnicodeEncodeError as error:
        raise RowRefusedError(f"the database driver refuses a value: {error}") from error


def _sort(error: psycopg.Error) -> FsmonError:
    code, text = error.sqlstate, " ".join(str(error).split())
    if code is None:
        # Raised by libpq or psycopg itself. A wrong argument would be a ProgrammingError.
        if isinstance(error, psycopg.ProgrammingError):
            return FatalError(f"the database driver refuses a statement: {text}; please report it")
        if isinstance(error, psycopg.DataError):
            return RowRefusedError(f"the database driver refuses a value: {text}")
        return DatabaseAwayError(f"lost the connection to PostgreSQL: {text}")
    text = f"{text} (SQLSTATE {code})"
    kind: type[FsmonError] = FatalError
    if code == "23514" and "no partition" in text:
        kind = NoPartitionError
    elif code in _AGAIN:
        kind = TransactionConflictError
    elif code[:2] in _REFUSED_CLASSES:
        kind = RowRefusedError
    elif code[:2] in _AWAY_CLASSES and code != "08P01":
        kind = DatabaseAwayError
    return kind(text + _REMEDIES.get(code, ""))
