"""One run of the producer, put together: capture, ring, destination, filter, pipeline."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fsmon_schemas.errors import ConfigError

from fsmon_producer import loader, preflight, publish
from fsmon_producer.config import CONTROL, Config
from fsmon_producer.control import Control
from fsmon_producer.destination import Destination
from fsmon_producer.filter import Filter
from fsmon_producer.former import settle_former
from fsmon_producer.identity import new_session
from fsmon_producer.journal import Journal
from fsmon_producer.metrics import Metrics
from fsmon_producer.output import AvroFile, JsonLines
from fsmon_producer.pipeline import Pipeline
from fsmon_producer.probe import Answer, probe
from fsmon_producer.ring import Cursor, Ring
from fsmon_producer.spools import spool_of
from fsmon_producer.state import kept
from fsmon_producer.stop import Patience, Stop
from fsmon_producer.succession import Begun, begin

_log = logging.getLogger(__name__)
_PROBE_RING = 1 << 20
# What systemd and `kill` say to a service; Ctrl-C is a person who wants to see the end of it.
_OUTLASTED = ("SIGTERM", "SIGHUP")


def run(config: Config, *, reread: Callable[[], Config] | None = None) -> int:
    """Capture as configured until a signal comes; returns the exit code.

    ``reread`` is how SIGHUP gets the configuration anew; without it SIGHUP means stop.
    """
    preflight.must_be_root()
    stop = Stop()
    stop.listen()
    with ExitStack() as open_things:
        keep = kept(config, open_things) if config.output is None else None
        if keep is not None and keep.pins is not None:
            open_things.callback(keep.pins.clear)
        control = _control(config.control)
        if control is not None:
            open_things.callback(control.close)
        if config.output is None:
            publish.must_be_known(config)  # before anything is changed: what is pinned goes on
        begun = begin(config, new_session(config.host_id), keep.pins if keep else None)
        capture = begun.capture
        open_things.callback(capture.close)
        rules = Filter(capture, config, control=control, reread=reread)
        ring = Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))
        open_things.callback(ring.close)
        spool = spool_of(keep.spools, begun.session, config, lambda: begun.identity) if keep else None
        if spool is not None:
            open_things.callback(spool.close)
        journal = Journal(capture, ring, spool, begun.session)
        destination = _destination(config, begun, journal.start)
        open_things.callback(destination.close)
        _log.info(
            "%s on %s (session %d): watching %s, backend %s, ring of %d KiB",
            "capturing" if begun.new else "taking over, capturing",
            begun.session.host_id,
            begun.session.id,
            ", ".join(map(str, config.watch)),
            capture.backend,
            capture.ring_bytes >> 10,
        )
        meter = None
        if config.metrics is not None:
            metrics = Metrics(config.metrics, begun.session, capture.backend, capture.ring_bytes)
            open_things.callback(metrics.close)
            meter = metrics.update

        def serve() -> None:
            rules.serve()
            capture.resolve()

        pipeline = Pipeline(
            capture,
            journal,
            destination,
            begun.session,
            stop,
            report_interval=config.report_interval,
            drain_timeout=config.drain_timeout,
            between=serve,
            meter=meter,
            outlasts=_OUTLASTED if capture.pinned is not None else (),
        )

        def between() -> None:
            serve()
            pipeline.tend()

        try:
            if keep is not None:
                patience = Patience(stop, config.drain_timeout, _OUTLASTED)
                settle_former(config, keep, begun, patience, between=between)
            code = pipeline.run()
        finally:
            if pipeline.over and capture.pinned is not None:
                capture.pinned.remove()
        return code


def probed(backend: str) -> tuple[str, list[Answer]]:
    """The backend taken, and what comes of one of each operation it can report; FatalError as for ``run``."""
    answers: list[Answer] = []
    capture = loader.load(
        loader.CaptureSettings(watch=(), ring_bytes=_PROBE_RING, backend=backend),
        first=lambda capture, ops: answers.extend(probe(capture, ops)),
    )
    with capture:
        return capture.backend, answers


def _control(path: Path | None) -> Control | None:
    """Where filter commands come in; None where the default place is not to be had."""
    try:
        return Control(path or CONTROL)
    except ConfigError as error:
        if path is not None:
            raise
        _log.warning("%s: this producer takes no filter commands; give it a --control of its own", error)
        return None


def _destination(config: Config, begun: Begun, start: Cursor) -> Destination:
    if config.output == "-":
        return JsonLines(start)
    if config.output is not None:
        return AvroFile(start, Path(config.output))
    return publish.publisher_of(config, begun.identity, start, begun.bind)
