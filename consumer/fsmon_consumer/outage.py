"""Whether Kafka is away: said once, and once more when it is back."""

import logging

_log = logging.getLogger(__name__)


class Outage:
    """Of the brokers at ``bootstrap_servers``, as one client sees them; for one thread."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self.lasts = False

    def begin(self) -> None:
        """No broker answers."""
        if not self.lasts:
            self.lasts = True
            _log.warning(
                "no Kafka broker answers at %s; waiting for it (check that it runs, and --bootstrap-servers)",
                self._bootstrap_servers,
            )

    def end(self) -> None:
        """A broker answers."""
        if self.lasts:
            self.lasts = False
            _log.info("Kafka at %s is back", self._bootstrap_servers)
