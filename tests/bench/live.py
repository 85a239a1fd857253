"""Live capture: real operations, the real ring, a real broker; the producer's CPU until acknowledged."""

import os
import subprocess
import threading
import time
from pathlib import Path

from fsmon_producer.identity import Session
from fsmon_producer.journal import Journal
from fsmon_producer.loader import CaptureSettings, load
from fsmon_producer.pipeline import Pipeline
from fsmon_producer.publish import Cluster, Publisher
from fsmon_producer.ring import Cursor, Ring
from fsmon_producer.stop import Stop

_SESSION = Session("bench-live", 2**61 + 7, "boot", 0, "host", "kernel")


def measure(cluster: Cluster, calls: Path, watched: Path, reads: int) -> list[str]:
    """Reads of one watched byte as fast as they go, every one captured, published and acknowledged."""
    file = watched / "file"
    file.write_text("x")
    with load(CaptureSettings(watch=(watched,), ring_bytes=256 << 20)) as capture:
        ring = Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))
        publisher = Publisher(cluster, _SESSION.host_id, _SESSION.id, ring.cursor)
        stop = Stop()
        journal = Journal(capture, ring, None, _SESSION)
        pipeline = Pipeline(capture, journal, publisher, _SESSION, stop, report_interval=5, drain_timeout=120)

        def work() -> None:
            subprocess.run([str(calls), "file", str(file), str(reads)], check=True, stdout=subprocess.DEVNULL)
            stop.reason = "bench"

        worker = threading.Thread(target=work)
        before, started = os.times(), time.monotonic()
        worker.start()
        if pipeline.run() != 0:
            raise RuntimeError("the live bench left events behind")
        wall, after = time.monotonic() - started, os.times()
        worker.join()
        events = publisher.acknowledged.cursor.seq
        lost = sum(sum(by_op.values()) for by_op in capture.counters().lost.values())
        publisher.close()
        ring.close()
    user, system = after.user - before.user, after.system - before.system
    return [
        f"{events} events acknowledged in {wall:.1f} s ({events / wall:,.0f}/s), {lost} lost",
        f"{events / (user + system):,.0f} events a CPU second of the producer",
        (
            f"{1e6 * user / events:.2f} us user CPU an event, "
            f"{1e6 * (user + system) / events:.2f} us with the system's"
        ),
    ]
