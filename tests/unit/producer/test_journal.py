"""Ring and spool as one log, against the seqs that the kernel emitted: whatever is done, each has one end."""

import random
from pathlib import Path

import pytest
from fsmon_producer.journal import Journal
from fsmon_producer.record import CURRENT
from fsmon_producer.ring import Cursor
from fsmon_producer.spool import Spool
from fsmon_producer.stamp import StampCounts

from .fake_capture import FakeCapture, FakeRing
from .test_spool import IDENTITY

_NO_LIMIT = 1 << 20


class Host:
    """A producer that is killed and started again, and a Kafka that takes what it wants."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory, self._limit = directory, limit
        self.capture = FakeCapture(1 << 14)
        self.emitted = 0
        self.arrived: list[int] = []
        self.under_way: list[tuple[list[int], Cursor]] = []
        self._start()

    def _start(self) -> None:
        self.spool = Spool(self._directory, 7, self._limit, lambda: IDENTITY, drop_oldest=True)
        self.journal = Journal(self.capture, FakeRing(self.capture), self.spool, IDENTITY.session)
        self._stamp = self.journal.stamp(b"", _NO_LIMIT, StampCounts())
        self._acknowledged = self.journal.start

    def emit(self, count: int) -> None:
        for _ in range(count):
            self.emitted += self.capture.emit_event(pid=self.emitted) is not None

    def relieve(self) -> None:
        """As the pipeline: what is under way of the ring is forgotten first, of the spool it is not."""
        if not self.journal.from_spool:
            self._forget_what_is_under_way()
        self.journal.relieve()

    def send(self, most: int) -> None:
        if (sent := self.journal.read(self._stamp, b"", most)) and sent[0]:
            seqs = [CURRENT.decode_stamped(message)["seq"] for message in sent[0]]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            self.under_way.append((seqs, sent[1]))

    def acknowledge(self) -> None:
        if self.under_way:
            seqs, self._acknowledged = self.under_way.pop(0)
            self.arrived += seqs
        self.journal.acknowledge(self._acknowledged)

    def interrupt(self) -> None:
        self._forget_what_is_under_way()
        self.journal.rewind(self._acknowledged)

    def kill(self) -> None:
        self._forget_what_is_under_way()
        self.spool.close()
        self._start()

    def _forget_what_is_under_way(self) -> None:
        """Some of it arrives all the same."""
        for seqs, _ in self.under_way[: random.randrange(len(self.under_way) + 1)]:
            self.arrived += seqs
        self.under_way = []


def test_random_use_leaves_no_event_without_an_end(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    random.seed(seed)
    dropped = 0
    for number in range(12):
        host = Host(tmp_path / f"{number}" / "7", random.choice((20_000, 60_000, 1 << 20)))
        for _ in range(150):
            match random.randrange(9):
                case 0 | 1 | 2:
                    host.emit(random.randrange(60))
                case 3 | 4:
                    host.relieve()
                case 5:
                    host.send(random.randrange(1, 50))
                case 6:
                    host.acknowledge()
                case 7:
                    random.choice((host.interrupt, host.acknowledge))()
                case _:
                    random.choice((host.kill, host.acknowledge, host.acknowledge))()
        for _ in range(2000):
            if host.journal.drained:
                break
            host.send(200)
            host.acknowledge()
        assert host.journal.drained
        gone = {seq for first, end in host.spool.dropped.spans for seq in range(first, end)}
        assert gone | set(host.arrived) == set(range(host.emitted))
        assert host.spool.empty
        dropped += len(gone - set(host.arrived))
        host.spool.close()
    assert dropped > 100


@pytest.mark.parametrize("acknowledged", [0, 30])
def test_what_is_under_way_when_its_file_is_given_up(tmp_path: Path, acknowledged: int) -> None:
    host = Host(tmp_path / "7", 20_000)
    while not host.journal.from_spool:
        host.emit(20)
        host.relieve()
    first = host.spool.first
    host.send(30)
    if acknowledged:
        host.acknowledge()
    host.send(10)
    while not host.spool.dropped.spans:
        host.emit(50)
        host.journal.relieve(1.0)
    assert host.spool.dropped.spans[0][0] == first + acknowledged
    host.acknowledge()
    host.acknowledge()
    assert host.arrived == list(range(first, first + 40))
    host.send(1)
    assert host.under_way[-1][0] == [host.spool.first], "sending goes on behind what was given up"
