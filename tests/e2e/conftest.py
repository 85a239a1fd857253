"""Where a deployment of a test lives, and a host of the shared deployment, ``fsmon``."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.host import Host, new_host
from local.deployment import Deployment
from local.process import stop_all


@pytest.fixture
def home(state_dir: Path) -> Iterator[Path]:
    """Not tmp_path: /tmp may be a tmpfs, which has no extended attributes before Linux 6.6."""
    directory = state_dir / f"e2e-{uuid.uuid4().hex[:8]}"
    yield directory
    stop_all(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def host(fsmon: Deployment) -> Iterator[Host]:
    with new_host(fsmon) as host:
        yield host
