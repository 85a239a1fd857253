"""Fixtures for all tests: the real services, started here or brought by environment variable."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from local.places import TESTS
from local.process import stop_all

# pytest shows the values of an assertion that failed in these, too.
pytest.register_assert_rewrite(
    "chaos.verify", "e2e.host", "integration.consumer.running", "integration.producer.producing_host"
)
pytest_plugins = ["fix_deployment", "fix_kafka", "fix_registry", "fix_postgres", "fix_secure"]


@pytest.fixture(scope="session")
def state_dir() -> Iterator[Path]:
    """Where this run's services keep their state; what killed runs left behind is ended first."""
    TESTS.mkdir(parents=True, exist_ok=True)
    for left in TESTS.iterdir():
        if not Path(f"/proc/{left.name}").exists():
            stop_all(left)
            shutil.rmtree(left)
    directory = TESTS / str(os.getpid())
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
