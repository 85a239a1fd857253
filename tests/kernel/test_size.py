"""What an event costs in the ring, headers and padding included."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local.demo import WORKLOAD

from .conftest import Watch

pytestmark = pytest.mark.kernel
MOST_BYTES = 200  # an event; others use fixed records of 5 to 28 kB


@pytest.fixture
def ground() -> Iterator[Path]:
    """A name as long as people's, which pytest's own are not: the path is the largest part of an event."""
    with tempfile.TemporaryDirectory(prefix="fsmon-size-of-events-") as ground:
        yield Path(ground)


def test_an_event_of_everyday_work_is_small(ground: Path, watching: Callable[..., Watch]) -> None:
    watch = watching(ground)
    watch.bodies()
    before = watch.ring.cursor
    with subprocess.Popen([WORKLOAD, ground], stdout=subprocess.DEVNULL) as workload:
        while workload.poll() is None:
            watch.bodies()
            time.sleep(0.05)
    assert workload.returncode == 0
    watch.bodies()
    after = watch.ring.cursor
    spent, events = after.position - before.position, after.seq - before.seq
    assert events > 10_000
    assert 40 < spent / events < MOST_BYTES, f"{spent / events:.0f} bytes an event"
