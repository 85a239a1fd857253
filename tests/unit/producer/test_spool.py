"""The spool on a real disk: order, bounds, torn tails, a full file system, what it never follows or shows."""

import contextlib
import random
import stat
from pathlib import Path

import fastavro
import pytest
from fsmon_producer.config import resolve
from fsmon_producer.identity import Session
from fsmon_producer.pins import Identity
from fsmon_producer.record import CURRENT
from fsmon_producer.ring import Batch, Cursor
from fsmon_producer.spool import Spool, SpoolFullError
from fsmon_producer.spools import spool_of
from fsmon_producer.stamp import Stamp
from fsmon_schemas.errors import ConfigError, FatalError
from fsmon_schemas.schema import FILE_EVENT
from hypothesis import given, settings
from hypothesis import strategies as st

from .fake_capture import body

IDENTITY = Identity(
    session=Session("host-a", 7, "boot", 1, "name", "6.1"),
    build="",
    backend="tracepoint",
    ring_bytes=4096,
    topic="t",
    reports_topic="r",
    schema=FILE_EVENT.text,
    operations=(),
    stages=(),
    uncovered={},
    partition=3,
)


def opened(directory: Path, limit: int = 1 << 30, *, drop_oldest: bool = False) -> Spool:
    return Spool(directory, 7, limit, lambda: IDENTITY, drop_oldest=drop_oldest)


def bodies(first: int, count: int) -> list[bytes]:
    stamp = Stamp(b"", "host-a", 7, 1 << 20)
    kernel = [body(pid=number) for number in range(first, first + count)]
    return stamp.messages(Batch(Cursor(0, first), Cursor(0, first + count), kernel))


def drained(spool: Spool, most: int = 1000) -> list[int]:
    seqs = []
    while spool.unread:
        first, read = spool.read(most)
        seqs += list(range(first, first + len(read)))
        assert [CURRENT.decode_stamped(one)["seq"] for one in read] == seqs[len(seqs) - len(read) :]
    return seqs


def filled(spool: Spool, why: str) -> int:
    """Append until it refuses, and how many it took."""
    first = 0

    def fill() -> None:
        nonlocal first
        while True:
            spool.append(first, bodies(first, 20))
            first += 20

    with pytest.raises(SpoolFullError, match=why):
        fill()
    return first


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "7"


def test_first_in_first_out_over_segments_and_a_restart(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsmon_producer.spool._SEGMENT_BYTES", 10_000)
    spool = opened(directory)
    for first in range(100, 1100, 50):
        spool.append(first, bodies(first, 50))
    assert (spool.first, spool.end, len(list(directory.iterdir())) > 3) == (100, 1100, True)
    assert drained(spool) == list(range(100, 1100))
    spool.release(600)
    assert 100 < spool.first <= 600
    first = spool.first
    spool.close()
    again = opened(directory)
    assert (again.first, again.end, again.identity) == (first, 1100, IDENTITY)
    assert drained(again, 7) == list(range(first, 1100))
    again.rewind(777)
    assert drained(again) == list(range(777, 1100))
    again.append(1100, bodies(1100, 10))
    assert drained(again) == list(range(1100, 1110))
    again.release(1110)
    assert (again.empty, list(directory.iterdir())) == (True, [])
    again.append(1110, bodies(1110, 3))
    assert drained(again) == [1110, 1111, 1112]


def test_any_avro_reader_reads_it_and_nobody_else_may(directory: Path) -> None:
    opened(directory).append(0, bodies(0, 20))
    (file,) = directory.iterdir()
    with file.open("rb") as stream:
        events = list(fastavro.reader(stream))
    assert [event["seq"] for event in events if isinstance(event, dict)] == list(range(20))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, directory)] == [0o600, 0o700]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5000), st.binary(max_size=40))
def test_a_torn_tail_costs_only_what_was_torn(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    directory = tmp_path_factory.mktemp("spool") / "7"
    spool = opened(directory)
    spool.append(0, bodies(0, 20))
    spool.close()
    (file,) = directory.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - min(cut, len(whole))] + junk)
    again = opened(directory)
    left = drained(again) if not again.empty else []
    assert left == list(range(len(left)))
    if cut == 0:
        assert len(left) == 20
    again.append(len(left), bodies(len(left), 5))
    assert again.end == len(left) + 5


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_damage_is_read_to_its_end(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    directory = tmp_path_factory.mktemp("spool") / "7"
    spool = opened(directory)
    spool.append(0, bodies(0, 20))
    spool.close()
    (file,) = directory.iterdir()
    data = bytearray(file.read_bytes())
    for position, value in flips:
        data[position % len(data)] = value
    file.write_bytes(data)
    again = opened(directory)
    left = 0
    while again.unread:
        first, read = again.read(7)
        assert first == left
        left += len(read)
    assert left <= 20
    with contextlib.suppress(FatalError):
        assert again.empty == (again.identity is None)
    again.close()


def test_the_bound_stops_it_and_leaves_it_whole(directory: Path) -> None:
    spool = opened(directory, 100_000)
    first = filled(spool, "has reached its")
    assert 80_000 < spool.size <= 100_000
    assert drained(spool) == list(range(first))
    spool.release(first)
    spool.append(first, bodies(first, 50))


def test_it_never_follows_a_link(directory: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    directory.mkdir(parents=True, mode=0o700)
    (directory / f"{0:020d}.avro").symlink_to(victim)
    with pytest.raises(FatalError, match="Too many levels"):
        opened(directory)
    (directory / f"{0:020d}.avro").unlink()
    spool = opened(directory)
    (directory / f"{0:020d}.avro").symlink_to(victim)
    with pytest.raises(OSError, match="File exists"):
        spool.append(0, bodies(0, 1))
    (directory / "last-report").symlink_to(victim)
    with pytest.raises(OSError, match="Too many levels"):
        spool.keep_report(b"x")
    assert victim.read_text() == "precious"
    other = tmp_path / "other"
    other.symlink_to(directory)
    with pytest.raises(ConfigError, match="should be a directory of uid"):
        opened(other)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="mode 0700"):
        opened(open_to_all)


def test_a_report_without_events_is_kept_with_whose_it_is(directory: Path) -> None:
    spool = opened(directory)
    assert (spool.identity, spool.report) == (None, None)
    spool.keep_report(b"\x00report\n")
    spool.close()
    spool = opened(directory)
    assert (spool.identity, spool.report) == (IDENTITY, b"\x00report\n")
    spool.remove()
    assert not directory.exists()


def test_a_damaged_report_is_none(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = opened(directory)
    spool.keep_report(b"report")
    written = (directory / "last-report").read_bytes()
    for damaged in (b"", written[:-1], written[:40], bytes([written[0] ^ 1]) + written[1:], written + b"x"):
        caplog.clear()
        (directory / "last-report").write_bytes(damaged)
        assert (spool.identity, spool.report) == (None, None)
        assert "last report is damaged" in caplog.text
    spool.close()


def test_the_bound_is_of_all_sessions_together(tmp_path: Path) -> None:
    config = resolve({"spool_size": "100K"}, None)
    first, second = (Session(f"host-{number}", number, "boot", 1, "name", "6.1") for number in (7, 8))
    one = spool_of(tmp_path, first, config, lambda: IDENTITY)
    other = spool_of(tmp_path, second, config, lambda: IDENTITY)
    assert one is not None
    assert other is not None
    one.append(0, bodies(0, 300))
    other.append(0, bodies(0, 20))
    for spool, end in ((one, 300), (other, 20)):
        with pytest.raises(SpoolFullError):
            spool.append(end, bodies(end, 300))
    one.release(300)
    other.append(20, bodies(20, 300))


def test_random_use_against_a_list(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsmon_producer.spool._SEGMENT_BYTES", 3_000)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    spool = opened(directory)
    end = read = acknowledged = 0
    for _ in range(300):
        do = dice.choice(("append", "read", "release", "rewind", "reopen"))
        if do == "append":
            count = dice.randrange(1, 30)
            spool.append(end, bodies(end, count))
            end += count
        elif do == "read" and spool.unread:
            first, got = spool.read(dice.randrange(1, 40))
            assert first == read
            read += len(got)
        elif do == "release":
            acknowledged = dice.randint(acknowledged, read)
            spool.release(acknowledged)
        elif do == "rewind" and not spool.empty:
            read = max(acknowledged, spool.first)
            spool.rewind(read)
        elif do == "reopen":
            spool.close()
            spool = opened(directory)
            if not spool.empty:
                assert spool.first <= acknowledged
                read = acknowledged
                spool.rewind(read)
            else:
                assert acknowledged == end
        if not spool.empty:
            assert (spool.end, spool.unread) == (end, end - read)
        else:
            assert acknowledged == end
