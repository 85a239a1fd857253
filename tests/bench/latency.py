"""From the operation to its row in PostgreSQL, at a steady rate, through the commands as users run them."""

import subprocess
import sys
from pathlib import Path

from local.deployment import Deployment

# rate / 100 writes every 10 ms.
_WRITER = """
import os, sys, time
fd, rate = os.open('paced', os.O_CREAT | os.O_WRONLY), int(sys.argv[1])
end = time.monotonic() + float(sys.argv[2])
turn = time.monotonic()
while turn < end:
    for _ in range(rate // 100):
        os.pwrite(fd, b'x', 0)
    turn += 0.01
    time.sleep(max(0, turn - time.monotonic()))
"""
_QUERY = """
SELECT count(*),
       percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM stored_at - time))
FROM file_events
WHERE path = %(path)s
  AND time > (SELECT min(time) FROM file_events WHERE path = %(path)s) + interval '2 s'
"""
_SETTLE_SECONDS = 60


def measure(deployment: Deployment, watched: Path, rate: int, seconds: float) -> list[str]:
    """p50 and p99 at ``rate`` events a second for ``seconds``, after two seconds that do not count."""
    deployment.start_consumers(1)
    deployment.start_producer(watched)
    writer = [sys.executable, "-ISc", _WRITER, str(rate), str(seconds + 2)]
    subprocess.run(writer, cwd=watched, check=True)
    deployment.stop_producer()
    if deployment.audit(_SETTLE_SECONDS) != 0:
        raise RuntimeError("events are unaccounted for")
    with deployment.database() as database:
        row = database.execute(_QUERY, {"path": str(watched / "paced")}).fetchone()
    assert row is not None
    events, (median, late) = row
    return [f"{events} events at {rate}/s: p50 {1000 * median:.0f} ms, p99 {1000 * late:.0f} ms"]
