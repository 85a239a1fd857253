"""``python -m local.demo``: a real workload, from the kernel to PostgreSQL, and the proof.

Exit code 0 only if more than 5,000 events were captured, every one of them is stored, and none twice.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
from fsmon_schemas.errors import FsmonError

from local import tables
from local.places import LOCAL
from local.process import Process, ServiceError, stop_all
from local.stack import Stack

_HOME = LOCAL / "demo"
_WATCHED = _HOME / "watched"
_WORKLOAD = Path(__file__).parent / "workload.sh"
_SCRIPTS = Path(sys.executable).parent
_LEAST = 5_000
_CONSUMERS = 2
_SETTLE_SECONDS = 60


def main() -> int:
    """Run the whole demo; whatever happens, nothing is left running."""
    if os.geteuid() != 0:
        print("demo: loading eBPF programs needs root: run it as root", file=sys.stderr)
        return 2
    stop_all(_HOME)  # what a demo that was killed left behind
    shutil.rmtree(_HOME, ignore_errors=True)
    _WATCHED.mkdir(parents=True)
    try:
        return _demo(Stack(_HOME))
    except FsmonError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    finally:
        stop_all(_HOME)


def _demo(stack: Stack) -> int:
    _say("starting Kafka, the schema registry and PostgreSQL")
    stack.start()
    environment = {**os.environ, **stack.environment()}
    _say("creating the topics and the database's tables")
    _call(environment, "fsmon-producer", "topics", "create")
    _call(environment, "fsmon-consumer", "migrate")
    with psycopg.connect(stack.postgres.dsn, autocommit=True) as database:
        _say(f"starting {_CONSUMERS} consumers, and one producer that watches {_WATCHED}")
        consumers = [_consumer(number, environment) for number in range(1, _CONSUMERS + 1)]
        producer = _producer(environment)
        _await_claims(database, consumers)
        _watch_workload(database)
        _say("stopping the producer: it delivers what is left in its ring")
        if producer.stop(timeout=60) != 0:
            raise ServiceError(f"the producer left something undelivered: see {producer.log}")
        audit = subprocess.run(
            [_SCRIPTS / "fsmon-consumer", "audit", "--settle", str(_SETTLE_SECONDS)],
            env=environment,
            check=False,
        )
        for consumer in consumers:
            if consumer.stop(timeout=30) != 0:
                raise ServiceError(f"{consumer.name} failed: see {consumer.log}")
        tables.show(database, _WATCHED)
        verdict = _verdict(database, audit.returncode)
    stack.stop()
    return verdict


def _producer(environment: Mapping[str, str]) -> Process:
    producer = Process("producer", _HOME)
    host = socket.gethostname()
    command = ["run", "--watch", str(_WATCHED), "--host-id", host, "--report-interval", "1"]
    producer.launch([_SCRIPTS / "fsmon-producer", *command], environment)
    producer.wait(lambda: "capturing" in producer.log.read_text(), timeout=60)
    return producer


def _consumer(number: int, environment: Mapping[str, str]) -> Process:
    consumer = Process(f"consumer-{number}", _HOME)
    consumer.launch([_SCRIPTS / "fsmon-consumer", "run"], environment)
    return consumer


def _await_claims(database: psycopg.Connection, consumers: list[Process]) -> None:
    """Wait until every consumer owns partitions, so that the latency below is not their start's."""
    query = "SELECT count(DISTINCT backend_pid) FROM offsets"
    for consumer in consumers:
        consumer.wait(lambda: _number(database, query) == len(consumers), timeout=60)


def _watch_workload(database: psycopg.Connection) -> None:
    _say("running the workload")
    log = _HOME / "workload.log"
    with log.open("wb") as output:
        workload = subprocess.Popen([_WORKLOAD, _WATCHED], stdout=output, stderr=output)
        try:
            with _line() as line:
                while workload.poll() is None:
                    line(_progress(database, log))
                line(_progress(database, log))
        finally:
            workload.kill()
            workload.wait()
    if workload.returncode != 0:
        raise ServiceError(f"the workload failed:\n{log.read_text(errors='replace')}")


@contextmanager
def _line() -> Iterator[Callable[[str], None]]:
    """A function that shows progress: over itself on a terminal, else as one line a second."""
    terminal = sys.stdout.isatty()

    def show(text: str) -> None:
        print(f"\r\033[K   {text}" if terminal else f"   {text}", end="" if terminal else "\n", flush=True)
        time.sleep(0.2 if terminal else 1)

    yield show
    if terminal:
        print()


def _progress(database: psycopg.Connection, log: Path) -> str:
    captured = _number(database, "SELECT coalesce(sum(emitted), 0) FROM reports")
    stored = _number(database, "SELECT coalesce(sum(stored), 0) FROM streams")
    lines = log.read_text(errors="replace").splitlines()
    # A report is at most a second old, so rows may be ahead of it.
    return f"captured {max(captured, stored):>7,}   in PostgreSQL {stored:>7,}   {lines[-1] if lines else ''}"


def _verdict(database: psycopg.Connection, audit: int) -> int:
    stored = _number(database, "SELECT count(*) FROM file_events")
    distinct = _number(
        database, "SELECT count(*) FROM (SELECT DISTINCT host_id, session, seq FROM file_events) AS i"
    )
    duplicates = _number(database, "SELECT coalesce(sum(duplicates), 0) FROM streams") + stored - distinct
    faults = []
    if audit != 0:
        faults.append(f"the audit says that events are unaccounted for (exit code {audit})")
    if duplicates:
        faults.append(f"{duplicates} duplicates")
    if stored <= _LEAST:
        faults.append(f"only {stored} events, expected more than {_LEAST}")
    for fault in faults:
        print(f"demo: FAILED: {fault}; logs are in {_HOME}", file=sys.stderr)
    if not faults:
        _say(f"{stored:,} events captured and stored, 0 unaccounted, 0 duplicates")
    return 1 if faults else 0


def _number(database: psycopg.Connection, query: LiteralString) -> int:
    row = database.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _call(environment: Mapping[str, str], name: str, *arguments: str) -> None:
    done = subprocess.run(
        [_SCRIPTS / name, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ServiceError(f"{name} {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def _say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
