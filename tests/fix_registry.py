"""A real schema registry for the session; topics are uuid-named, and so are subjects."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from local.registry import Registry


class SchemaRegistry(Protocol):
    """What a test needs to know of a registry, ours or the user's."""

    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class BroughtRegistry:
    url: str


@pytest.fixture(scope="session")
def registry(state_dir: Path) -> Iterator[SchemaRegistry]:
    """One registry for the session; FSMON_TEST_REGISTRY names another."""
    brought = os.environ.get("FSMON_TEST_REGISTRY")
    if brought:
        yield BroughtRegistry(brought)
        return
    ours = Registry(state_dir / "registry")
    ours.start()
    yield ours
    ours.stop()
