"""``python -m local.demo``: a real workload, from the kernel to PostgreSQL, and the proof.

Exit code 0 only if more than 5,000 events were captured, every one of them is stored, and none twice.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from fsmon_schemas.errors import FsmonError

from local import tables
from local.deployment import Deployment, number_of
from local.places import LOCAL
from local.process import ServiceError, stop_all

WORKLOAD = Path(__file__).parent / "workload.sh"
_LEAST = 5_000
_CONSUMERS = 2
_SETTLE_SECONDS = 60


def main(home: Path = LOCAL / "demo") -> int:
    """Run the whole demo below ``home``, which is made anew; whatever happens, nothing is left running."""
    if os.geteuid() != 0:
        print("demo: loading eBPF programs needs root: run it as root", file=sys.stderr)
        return 2
    stop_all(home)  # what a demo that was killed left behind
    shutil.rmtree(home, ignore_errors=True)
    try:
        return _demo(Deployment(home), home / "watched")
    except FsmonError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    finally:
        stop_all(home)


def _demo(fsmon: Deployment, watched: Path) -> int:
    _say("starting Kafka, the schema registry and PostgreSQL; creating topics and tables")
    fsmon.prepare()
    _say(f"starting {_CONSUMERS} consumers, and one producer that watches {watched}")
    watched.mkdir()
    fsmon.start_consumers(_CONSUMERS)
    fsmon.start_producer(watched)
    with fsmon.database() as database:
        _say("running the workload")
        _run_workload(database, watched, fsmon.directory / "workload.log")
        _say("stopping the producer: it delivers what is left in its ring")
        fsmon.stop_producer()
        audit = fsmon.audit(_SETTLE_SECONDS)
        print()
        tables.show(database, watched)
        faults = _faults(database, audit)
    fsmon.stop()
    for fault in faults:
        print(f"demo: FAILED: {fault}; logs are in {fsmon.directory}", file=sys.stderr)
    return 1 if faults else 0


def _run_workload(database: psycopg.Connection, watched: Path, log: Path) -> None:
    with log.open("wb") as output:
        workload = subprocess.Popen([WORKLOAD, watched], stdout=output, stderr=output)
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
    captured = number_of(database, "SELECT coalesce(sum(emitted), 0) FROM reports")
    stored = number_of(database, "SELECT coalesce(sum(stored), 0) FROM streams")
    lines = log.read_text(errors="replace").splitlines()
    # A report is at most a second old, so rows may be ahead of it.
    return f"captured {max(captured, stored):>7,}   in PostgreSQL {stored:>7,}   {lines[-1] if lines else ''}"


def _faults(database: psycopg.Connection, audit: int) -> list[str]:
    stored = number_of(database, "SELECT count(*) FROM file_events")
    distinct = number_of(database, "SELECT count(DISTINCT (host_id, session, seq)) FROM file_events")
    dropped = number_of(database, "SELECT coalesce(sum(duplicates), 0) FROM streams")
    duplicates = dropped + stored - distinct
    faults = []
    if audit != 0:
        faults.append(f"the audit says that events are unaccounted for (exit code {audit})")
    captured = number_of(database, "SELECT sum(emitted) FROM reports")
    if stored != captured:
        faults.append(f"{captured} events were captured and {stored} stored")
    if duplicates:
        faults.append(f"{duplicates} duplicates")
    if stored <= _LEAST:
        faults.append(f"only {stored} events, expected more than {_LEAST}")
    if not faults:
        _say(f"{stored:,} events captured and stored, 0 unaccounted, 0 duplicates")
    return faults


def _say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
