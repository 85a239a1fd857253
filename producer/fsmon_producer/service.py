"""One run of the producer, put together: capture, ring, destination, filter, pipeline."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fsmon_schemas.errors import ConfigError, FatalError

from fsmon_producer import loader
from fsmon_producer.config import CONTROL, Config
from fsmon_producer.control import Control
from fsmon_producer.destination import Destination
from fsmon_producer.ending import Ending
from fsmon_producer.filter import Filter
from fsmon_producer.identity import Session, new_session
from fsmon_producer.metrics import Metrics
from fsmon_producer.output import AvroFile, JsonLines
from fsmon_producer.pins import Pinned
from fsmon_producer.pipeline import Pipeline
from fsmon_producer.probe import Answer, probe
from fsmon_producer.programs import Capture
from fsmon_producer.publish import Cluster, Publisher
from fsmon_producer.ring import Cursor, Ring
from fsmon_producer.state import kept
from fsmon_producer.stop import Stop
from fsmon_producer.succession import begin

_log = logging.getLogger(__name__)
_PROBE_RING = 1 << 20
# What systemd and `kill` say to a service; Ctrl-C is a person who wants to see the end of it.
_OUTLASTED = ("SIGTERM", "SIGHUP")


def run(config: Config, *, reread: Callable[[], Config] | None = None) -> int:
    """Capture as configured until a signal comes; returns the exit code.

    ``reread`` is how SIGHUP gets the configuration anew; without it SIGHUP means stop.
    """
    stop = Stop()
    stop.listen()
    with ExitStack() as open_things:
        pins = kept(config, open_things) if config.output is None else None
        control = _control(config.control)
        if control is not None:
            open_things.callback(control.close)
        begun = begin(config, new_session(config.host_id), pins)
        capture = begun.capture
        open_things.callback(capture.close)
        rules = Filter(capture, config, control=control, reread=reread)
        for pinned, reason in begun.ending:
            with Ending(pinned, config, stop, between=lambda: _meanwhile(capture, rules)) as ending:
                if not ending.complete(reason):
                    return 0
        ring = Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))
        open_things.callback(ring.close)
        destination = _destination(config, begun.session, ring.cursor, capture.pinned)
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
        pipeline = Pipeline(
            capture,
            ring,
            destination,
            begun.session,
            stop,
            report_interval=config.report_interval,
            drain_timeout=config.drain_timeout,
            between=rules.serve,
            meter=meter,
            outlasts=_OUTLASTED if capture.pinned is not None else (),
        )
        try:
            code = pipeline.run()
        except FatalError:
            if begun.new and destination.acknowledged.cursor.seq == 0:
                pipeline.over = True  # it never got as far as to be worth going on with
                capture.detach()
            raise
        finally:
            if pipeline.over and pins is not None and capture.pinned is not None:
                capture.pinned.remove()
                open_things.callback(pins.clear)
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


def _meanwhile(capture: Capture, rules: Filter) -> None:
    """What a running capture needs of us while another session is brought to its end."""
    capture.sync_clock()
    capture.follow_names()
    rules.serve()


def _control(path: Path | None) -> Control | None:
    """Where filter commands come in; None where the default place is not to be had."""
    try:
        return Control(path or CONTROL)
    except ConfigError as error:
        if path is not None:
            raise
        _log.warning("%s: this producer takes no filter commands; give it a --control of its own", error)
        return None


def _destination(config: Config, session: Session, start: Cursor, pinned: Pinned | None) -> Destination:
    if config.output == "-":
        return JsonLines(start)
    if config.output is not None:
        return AvroFile(start, Path(config.output))
    assert config.bootstrap_servers is not None
    cluster = Cluster(
        config.bootstrap_servers, config.topic, config.reports_topic, config.registry, config.kafka
    )
    if pinned is None:
        return Publisher(cluster, session.host_id, session.id, start)
    partition = pinned.identity.partition
    return Publisher(cluster, session.host_id, session.id, start, partition=partition, bind=pinned.bind)
