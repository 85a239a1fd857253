"""Where a deployment of a test lives."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from local.process import stop_all


@pytest.fixture
def home(state_dir: Path) -> Iterator[Path]:
    """Not tmp_path: /tmp may be a tmpfs, which has no extended attributes before Linux 6.6."""
    directory = state_dir / f"e2e-{uuid.uuid4().hex[:8]}"
    yield directory
    stop_all(directory)
    shutil.rmtree(directory, ignore_errors=True)
