"""Where a session's messages go, and what has arrived there: Kafka, or an output without it."""

from dataclasses import dataclass
from typing import Protocol

from fsmon_schemas.errors import RetryableError

from fsmon_producer.ring import Cursor


@dataclass(frozen=True)
class Acknowledged:
    """Everything before ``cursor`` is acknowledged; partition and offset are those of the last event."""

    cursor: Cursor
    partition: int | None = None
    offset: int | None = None


class InterruptedPublishError(RetryableError):
    """Nothing unacknowledged will arrive: connect again, then send again from ``acknowledged``."""


class Destination(Protocol):
    """Where messages go: ``Publisher``, or an output."""

    frame: bytes
    limit: int
    acknowledged: Acknowledged
    reports: bool  # whether it takes reports at all
    reports_acknowledged: int

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""

    @property
    def ready(self) -> bool:
        """Whether ``send`` may be called."""

    @property
    def settled(self) -> bool:
        """Whether nothing is under way."""

    def connect(self, seconds: float) -> bool:
        """Try to get connected; frame and limit hold from then on."""

    def send(self, messages: list[bytes], end: Cursor) -> None:
        """Take messages that end at ``end``."""

    def send_report(self, body: bytes) -> bool:
        """Take a report, if there is room for it."""

    def poll(self, seconds: float) -> None:
        """Serve callbacks; raises InterruptedPublishError after it forgot what is unacknowledged."""

    def abandon(self) -> None:
        """Forget what is unacknowledged and disconnect."""

    def close(self) -> None:
        """Let go; what is unacknowledged stays so."""
