"""The producer's figures over HTTP, as Prometheus reads them; the only module that imports prometheus_client.

The thread that owns the capture hands over a snapshot about once a second; a scrape shows the newest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fsmon_schemas.errors import ConfigError
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fsmon_producer.capture import Counters
from fsmon_producer.identity import Session


@dataclass(frozen=True)
class Figures:
    """A moment of a session: events since it began, bytes of ring and spool that are not released."""

    counters: Counters
    acknowledged: int
    ring_used: int
    spooled: int = 0  # bytes
    dropped: int = 0  # events


class Metrics(Collector):
    """Listens from construction to ``close``."""

    def __init__(self, address: tuple[str, int], session: Session, backend: str, ring_bytes: int) -> None:
        """ConfigError where it cannot listen on ``address``: host, port."""
        self._about = {"host_id": session.host_id, "session": str(session.id), "backend": backend}
        self._ring_bytes = ring_bytes
        self._newest: Figures | None = None
        registry = CollectorRegistry()
        registry.register(self)
        host, port = address
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigError(f"--metrics {host}:{port}: {error.strerror or error}") from error

    def update(self, figures: Figures) -> None:
        """What a scrape shows from now on."""
        self._newest = figures

    def collect(self) -> Iterator[Metric]:
        """For the library: what the newest figures say; nothing before the first."""
        newest = self._newest
        if newest is None:
            return
        yield InfoMetricFamily("fsmon_capture", "The session that the figures are of.", self._about)
        captured = CounterMetricFamily("fsmon_captured_events", "Events put into the ring.", labels=["op"])
        for op, events in newest.counters.emitted.items():
            captured.add_metric([op], events)
        yield captured
        lost = CounterMetricFamily(
            "fsmon_lost_events", "Events wanted and lost before the ring.", labels=["stage", "op"]
        )
        for stage, by_op in newest.counters.lost.items():
            for op, events in by_op.items():
                lost.add_metric([stage, op], events)
        yield lost
        uncovered = CounterMetricFamily(
            "fsmon_uncovered_calls", "System calls the backend cannot see into.", labels=["kind"]
        )
        for kind, calls in newest.counters.uncovered.items():
            uncovered.add_metric([kind], calls)
        yield uncovered
        yield CounterMetricFamily(
            "fsmon_acknowledged_events", "Events that the destination has.", newest.acknowledged
        )
        yield GaugeMetricFamily("fsmon_ring_used_bytes", "Of the ring: not released yet.", newest.ring_used)
        yield GaugeMetricFamily("fsmon_spool_bytes", "In the spool: not acknowledged yet.", newest.spooled)
        yield CounterMetricFamily(
            "fsmon_spool_dropped_events", "Given up by a full spool (drop-oldest).", newest.dropped
        )
        yield GaugeMetricFamily("fsmon_ring_bytes", "Size of the ring.", self._ring_bytes)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
