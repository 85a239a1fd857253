"""The deployment that the tests of hosts share: services, topics, tables and two consumers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.host import deployed
from local.deployment import Deployment


@pytest.fixture(scope="session")
def fsmon(state_dir: Path) -> Iterator[Deployment]:
    with deployed(state_dir / "hosts", consumers=2) as deployment:
        yield deployment
