"""The sessions that a flush touches: locked as the ledger holds them, and what the flush adds to each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fsmon_consumer.ledger import Ranges
from fsmon_consumer.store import Database, statement

Stream = tuple[str, int]  # host_id, session


@dataclass
class Tally:
    """What became of the messages of a partition, or of the events of a session."""

    stored: int = 0
    duplicates: int = 0
    dead: int = 0
    expired: int = 0

    def count(self, outcome: str, number: int) -> None:
        """Add to the figure named ``outcome``."""
        setattr(self, outcome, getattr(self, outcome) + number)


@dataclass
class Session:
    """A session as the ledger holds it, and what this flush adds; ``known`` if the ledger has it already."""

    partition: int
    seen: Ranges
    seen_stop: int
    known: bool = False
    tally: Tally = field(default_factory=Tally)
    settled: list[tuple[int, int]] = field(default_factory=list)
    newest: datetime | None = None


class Sessions:
    """Rows of ``streams``, for one transaction; always locked and written in key order."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions: dict[Stream, Session] = {}

    def __getitem__(self, stream: Stream) -> Session:
        return self._sessions[stream]

    def open(self, partitions: Mapping[Stream, int]) -> None:
        """Make the rows that are not there yet; ``partitions`` says where each session is read from."""
        opened = sorted(partitions)
        self._database.rows(
            statement("open_streams"),
            {
                "hosts": [host for host, _ in opened],
                "sessions": [session for _, session in opened],
                "partitions": [partitions[stream] for stream in opened],
            },
        )

    def lock(self, spans: Mapping[Stream, tuple[int, int]], partitions: Mapping[Stream, int]) -> None:
        """Lock the sessions; of what each has ``seen``, only the part within its span is read."""
        wanted = sorted(spans)
        locked = self._database.rows(
            statement("lock_streams"),
            {
                "hosts": [host for host, _ in wanted],
                "sessions": [session for _, session in wanted],
                "firsts": [spans[stream][0] for stream in wanted],
                "stops": [spans[stream][1] for stream in wanted],
            },
        )
        for stream in wanted:  # a session known only from dead letters has no row yet
            self._sessions[stream] = Session(partitions[stream], Ranges(), 0)
        for host, session, seen, seen_stop in locked:
            found = self._sessions[host, session]
            found.seen, found.seen_stop, found.known = Ranges.parse(seen), seen_stop, True

    def write(self) -> None:
        """Add to the ledger what was settled and counted."""
        touched = sorted(stream for stream, found in self._sessions.items() if found.tally != Tally())
        found = [self._sessions[stream] for stream in touched]
        self._database.rows(
            statement("settle_streams"),
            {
                "hosts": [host for host, _ in touched],
                "sessions": [session for _, session in touched],
                "partitions": [each.partition for each in found],
                "seen": [Ranges.of(each.settled).text() for each in found],
                "stored": [each.tally.stored for each in found],
                "duplicates": [each.tally.duplicates for each in found],
                "dead": [each.tally.dead for each in found],
                "expired": [each.tally.expired for each in found],
                "last_times": [each.newest for each in found],
            },
        )
