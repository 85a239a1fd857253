"""One run of the producer, put together: capture, ring, destination, filter, pipeline."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fsmon_schemas.errors import ConfigError

from fsmon_producer import loader
from fsmon_producer.config import CONTROL, Config
from fsmon_producer.control import Control
from fsmon_producer.destination import Destination
from fsmon_producer.filter import Filter
from fsmon_producer.identity import Session, new_session
from fsmon_producer.metrics import Metrics
from fsmon_producer.output import AvroFile, JsonLines
from fsmon_producer.pipeline import Pipeline
from fsmon_producer.probe import Answer, probe, require
from fsmon_producer.programs import Capture
from fsmon_producer.publish import Cluster, Publisher
from fsmon_producer.ring import Cursor, Ring
from fsmon_producer.stop import Stop

_log = logging.getLogger(__name__)
_PROBE_RING = 1 << 20


def run(config: Config, *, reread: Callable[[], Config] | None = None) -> int:
    """Capture as configured until a signal comes; returns the exit code.

    ``reread`` is how SIGHUP gets the configuration anew; without it SIGHUP means stop.
    """
    stop = Stop()
    stop.listen()
    session = new_session(config.host_id)
    with ExitStack() as open_things:
        control = _control(config.control)
        if control is not None:
            open_things.callback(control.close)
        capture = loader.load(
            loader.CaptureSettings(
                watch=config.watch,
                exclude=config.exclude,
                ops=config.op,
                ignore_pids=config.ignore_pid,
                ring_bytes=config.ring_size,
                backend=config.backend,
            ),
            first=_must_answer,
        )
        open_things.callback(capture.close)
        ring = Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))
        open_things.callback(ring.close)
        destination = _destination(config, session, ring.cursor)
        open_things.callback(destination.close)
        _log.info(
            "capturing on %s (session %d): watching %s, backend %s, ring of %d KiB",
            session.host_id,
            session.id,
            ", ".join(map(str, config.watch)),
            capture.backend,
            capture.ring_bytes >> 10,
        )
        meter = None
        if config.metrics is not None:
            metrics = Metrics(config.metrics, session, capture.backend, capture.ring_bytes)
            open_things.callback(metrics.close)
            meter = metrics.update
        rules = Filter(capture, config, control=control, reread=reread)

        def between() -> None:
            rules.serve()
            capture.resolve()

        return Pipeline(
            capture,
            ring,
            destination,
            session,
            stop,
            report_interval=config.report_interval,
            drain_timeout=config.drain_timeout,
            between=between,
            meter=meter,
        ).run()


def probed(backend: str) -> tuple[str, list[Answer]]:
    """The backend taken, and what comes of one of each operation it can report; FatalError as for ``run``."""
    answers: list[Answer] = []
    capture = loader.load(
        loader.CaptureSettings(watch=(), ring_bytes=_PROBE_RING, backend=backend),
        first=lambda capture, ops: answers.extend(probe(capture, ops)),
    )
    with capture:
        return capture.backend, answers


def _must_answer(capture: Capture, ops: frozenset[str]) -> None:
    """No session begins on programs that the kernel does not call; what of it does not work is said."""
    silent = require(probe(capture, ops), capture.backend)
    if silent:
        _log.error(
            "done and not captured at a trial: %s; `fsmon-producer check --probe` shows more",
            ", ".join(silent),
        )


def _control(path: Path | None) -> Control | None:
    """Where filter commands come in; None where the default place is not to be had."""
    try:
        return Control(path or CONTROL)
    except ConfigError as error:
        if path is not None:
            raise
        _log.warning("%s: this producer takes no filter commands; give it a --control of its own", error)
        return None


def _destination(config: Config, session: Session, start: Cursor) -> Destination:
    if config.output == "-":
        return JsonLines(start)
    if config.output is not None:
        return AvroFile(start, Path(config.output))
    assert config.bootstrap_servers is not None
    cluster = Cluster(
        config.bootstrap_servers, config.topic, config.reports_topic, config.registry, config.kafka
    )
    return Publisher(cluster, session.host_id, session.id, start)
