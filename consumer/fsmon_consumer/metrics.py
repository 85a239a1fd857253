"""The consumer's figures over HTTP, as Prometheus reads them; the only module that imports prometheus_client.

What was stored is counted as it is committed; how far behind this worker is, is asked of Kafka at a scrape.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict

from fsmon_schemas import ConfigError, FsmonError
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fsmon_consumer.place import Place
from fsmon_consumer.sessions import Tally


class Metrics(Collector):
    """Listens from construction to ``close``."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        end_offsets: Callable[[], Mapping[Place, int]],
        next_offsets: Callable[[], Mapping[Place, int]],
        paused: Callable[[], Iterable[Place]],
    ) -> None:
        """ConfigError where it cannot listen on ``address``: host, port.

        ``end_offsets`` asks Kafka where each partition ends, ``next_offsets`` tells where those that are
        ours go on, ``paused`` which wait for a person; all are called by the thread of a scrape.
        """
        self._end_offsets = end_offsets
        self._next_offsets = next_offsets
        self._paused = paused
        self._lock = threading.Lock()
        self._messages: Counter[tuple[str, str]] = Counter()
        registry = CollectorRegistry()
        registry.register(self)
        host, port = address
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigError(f"--metrics {host}:{port}: {error.strerror or error}") from error

    def count(self, tallies: Mapping[Place, Tally]) -> None:
        """Add what a committed transaction did."""
        with self._lock:
            for (topic, _), tally in tallies.items():
                for outcome, messages in asdict(tally).items():
                    self._messages[topic, outcome] += messages

    def collect(self) -> Iterator[Metric]:
        """For the library. Without an answer of Kafka the lag is left out rather than shown as it was."""
        messages = CounterMetricFamily(
            "fsmon_consumer_messages",
            "Messages this worker committed: stored, duplicates, dead, expired.",
            labels=["topic", "outcome"],
        )
        with self._lock:
            counted = list(self._messages.items())
        for (topic, outcome), number in counted:
            messages.add_metric([topic, outcome], number)
        yield messages
        paused = GaugeMetricFamily(
            "fsmon_consumer_paused_partitions",
            "Partitions of this worker that are not read until a person has looked.",
            labels=["topic", "partition"],
        )
        for topic, partition in self._paused():
            paused.add_metric([topic, str(partition)], 1)
        yield paused
        next_offsets = self._next_offsets()
        try:
            ends = self._end_offsets()
        except FsmonError:
            ends = None
        yield GaugeMetricFamily("fsmon_consumer_kafka_up", "Whether Kafka answered.", int(ends is not None))
        lag = GaugeMetricFamily(
            "fsmon_consumer_lag_messages",
            "Messages of this worker's partitions in Kafka that are not stored yet.",
            labels=["topic", "partition"],
        )
        for (topic, partition), stored in next_offsets.items():
            if ends is not None and (topic, partition) in ends:
                lag.add_metric([topic, str(partition)], max(0, ends[topic, partition] - stored))
        yield lag

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
