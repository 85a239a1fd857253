"""Are the attached programs called? One of each operation in a private directory, and what came of it.

Programs can be attached and never run: LSM programs where bpf is not an active LSM, say. A producer that
relied on their being loaded would report nothing and claim that nothing was lost.
"""

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsmon_schemas.errors import FatalError

from fsmon_producer import probe_operations
from fsmon_producer.programs import Capture
from fsmon_producer.record import CURRENT
from fsmon_producer.ring import Cursor, Ring

_log = logging.getLogger(__name__)
_SECONDS = 60.0
_BATCH = 1000


@dataclass(frozen=True)
class Answer:
    """What came of an operation: ``hooks`` saw it, or ``obstacle`` says why it could not be done there."""

    op: str
    hooks: tuple[str, ...]
    obstacle: str = ""

    @property
    def silent(self) -> bool:
        """Whether it was done and not seen."""
        return not self.hooks and not self.obstacle


def probe(capture: Capture, ops: Collection[str]) -> list[Answer]:
    """Do each of ``ops`` once and see which hooks report it; nothing else may be watched yet.

    What this captures is taken out of the ring and of the counters, and the next event's seq is 0. FatalError
    where the operations cannot be done at all, or where the programs do not run.
    """
    with tempfile.TemporaryDirectory(prefix="fsmon-probe-") as name:
        directory = Path(name).resolve()
        probe_operations.prepare(directory)
        capture.watch(directory)
        try:
            done = _done_in(directory, ops)
            capture.resolve()
        finally:
            capture.unwatch(directory)
        events = _taken_out(capture)
    hooks: dict[str, set[str]] = {op: set() for op in done}
    for event in events:
        if event["op"] in hooks:
            hooks[event["op"]].add(f"{event['hook']} ({event['path_source']})")
    return [Answer(op, tuple(sorted(hooks[op])), obstacle or "") for op, obstacle in done.items()]


def answering(capture: Capture, ops: frozenset[str]) -> None:
    """No session begins on programs that the kernel does not call; what of it does not work is said."""
    silent = require(probe(capture, ops), capture.backend)
    if silent:
        _log.error(
            "done and not captured at a trial: %s; `fsmon-producer check --probe` shows more",
            ", ".join(silent),
        )


def require(answers: list[Answer], backend: str) -> list[str]:
    """The operations that were done and not seen; FatalError if none was seen at all."""
    silent = [answer.op for answer in answers if answer.silent]
    if silent and not any(answer.hooks for answer in answers):
        raise FatalError(
            f"the programs of backend {backend} are loaded and the kernel calls none of them: nothing would "
            "be captured. See `fsmon-producer check --probe`; for lsm boot with lsm=…,bpf, or try another "
            "--backend"
        )
    return silent


def _done_in(directory: Path, ops: Collection[str]) -> dict[str, str | None]:
    command = [sys.executable, "-m", probe_operations.__name__, str(directory), *ops]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except subprocess.TimeoutExpired as error:
        raise FatalError(f"the operations of the probe took more than {_SECONDS:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise FatalError(f"the operations of the probe failed: {error.stderr.strip()}") from error
    done = json.loads(ended.stdout)
    assert isinstance(done, dict)
    return done


def _taken_out(capture: Capture) -> list[dict[str, Any]]:
    """What is in the ring; from here on the capture is as if nothing had been."""
    events: list[dict[str, Any]] = []
    ring = Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))
    try:
        while ring.behind:
            events += map(CURRENT.decode_kernel, ring.read(_BATCH, capture.ring_bytes).bodies)
        capture.begin(ring.cursor.position)
        ring.release(ring.cursor)
    finally:
        ring.close()
    return events
