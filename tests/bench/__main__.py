"""``make bench``: what fsmon costs and how fast it is, each figure beside its reference in the same run.

Machines are noisy and this one may be busy: compare figures of one run, not of two.
"""

import argparse
import os
import sys
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import consumer, kernel_cost, latency, live, producer
from fsmon_producer.publish import Cluster
from fsmon_producer.topics import Topics
from local.deployment import Deployment
from local.places import LOCAL


def main() -> int:
    """Everything once; --quick in under a minute."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds: under 60 seconds")
    quick = parser.parse_args().quick
    if os.geteuid() != 0:
        print("bench: loading eBPF programs needs root: run it as root", file=sys.stderr)
        return 2
    LOCAL.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="bench-", dir=LOCAL) as home:
        deployment = Deployment(Path(home))
        try:
            _all(deployment, Path(home), quick=quick)
        finally:
            deployment.stop()
    return 0


def _all(deployment: Deployment, home: Path, *, quick: bool) -> None:
    deployment.prepare()
    bootstrap, dsn = deployment.stack.kafka.bootstrap, deployment.stack.postgres.dsn
    _title("What capture adds to a system call")
    print("\n".join(kernel_cost.measure(30_000 if quick else 300_000)))
    _title("Producer: user CPU an event, ring to acknowledged, against a producer that encodes dicts")
    producer.compare(bootstrap, 50_000 if quick else 300_000, 1 if quick else 3)
    _title("Live: watched reads as fast as they go, from ring to acknowledged")
    with kernel_cost.calls_in(home, 0) as calls:
        reads = 20_000 if quick else 200_000  # seven rounds of them
        print("\n".join(live.measure(_cluster(bootstrap), calls.program, calls.watched, reads)))
    _title("Consumer: client CPU a row, against fastavro and write_row")
    consumer.compare(dsn, 60_000 if quick else 400_000)
    _title("Latency: from the operation to its row in PostgreSQL")
    watched = home / "paced"
    watched.mkdir()
    print("\n".join(latency.measure(deployment, watched, 5_000, 5 if quick else 30)))


def _cluster(bootstrap: str) -> Cluster:
    name = f"bench-live-{uuid.uuid4()}"
    topics = Topics(bootstrap, {})
    for topic in (f"{name}.file-events", f"{name}.capture-reports"):
        topics.create(topic, 1, 1, 10)
        topics.wait_for(topic, 10)
    return Cluster(bootstrap, f"{name}.file-events", f"{name}.capture-reports", None, {})


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
