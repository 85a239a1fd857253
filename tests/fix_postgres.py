"""A real PostgreSQL for the session and an empty database for each test."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
import pytest
from local.postgres import Postgres


class Server(Protocol):
    """What a test needs to know of a server, ours or the user's."""

    @property
    def dsn(self) -> str: ...


@dataclass(frozen=True)
class BroughtPostgres:
    dsn: str


class Servers:
    """Our servers by version, each started when it is first asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: dict[str, Postgres] = {}

    def __getitem__(self, version: str) -> Postgres:
        if version not in self._started:
            server = Postgres(self._directory / f"postgres-{version}", version)
            server.start()
            self._started[version] = server
        return self._started[version]

    def stop(self) -> None:
        for server in self._started.values():
            server.stop()


@pytest.fixture(scope="session")
def postgres_servers(state_dir: Path) -> Iterator[Servers]:
    servers = Servers(state_dir)
    yield servers
    servers.stop()


@pytest.fixture
def postgres(postgres_servers: Servers, request: pytest.FixtureRequest) -> Server:
    """PostgreSQL 18, or the server that FSMON_TEST_POSTGRES names.

    ``@pytest.mark.parametrize("postgres", ["18", "15"], indirect=True)`` runs a test on both.
    """
    brought = os.environ.get("FSMON_TEST_POSTGRES")
    if brought:
        return BroughtPostgres(brought)
    return postgres_servers[getattr(request, "param", "18")]


@contextmanager
def fresh_database(dsn: str) -> Iterator[str]:
    """The DSN of an empty database beside ``dsn``'s, dropped afterwards whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(dsn, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    yield urlsplit(dsn)._replace(path=f"/{name}").geturl()
    with psycopg.connect(dsn, autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    """The DSN of one test's database."""
    with fresh_database(postgres.dsn) as dsn:
        yield dsn
