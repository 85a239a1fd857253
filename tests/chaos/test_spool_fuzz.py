"""A spool whose files were damaged, swapped or removed: the sound part, and the rest told.

Time and seed as in test_fuzz.py.
"""

import contextlib
import random
import shutil
import time
from pathlib import Path

import pytest
from chaos.fuzzing import SECONDS, SEED, in_time, mutated
from fsmon_producer.ring import Batch, Cursor
from fsmon_producer.segment import name_of
from fsmon_producer.spool import Spool
from fsmon_producer.stamp import Stamp
from fsmon_schemas.errors import FsmonError
from fsmon_schemas.framing import encode_long, encode_string
from unit.producer.fake_capture import body
from unit.producer.test_spool import IDENTITY, bodies, opened

SPOOLED = bodies(1000, 200)


def spool_files(directory: Path) -> dict[str, bytes]:
    spool = opened(directory)
    for number in range(0, 200, 10):
        spool.append(1000 + number, SPOOLED[number : number + 10])
    spool.close()
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def damage(dice: random.Random, files: dict[str, bytes], foreign: dict[str, bytes]) -> dict[str, bytes]:
    """What may have become of a spool's files by the time they are read again."""
    left = dict(files)
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        name, other = dice.choice(sorted(files)), dice.choice(sorted(files))
        match dice.randrange(9):
            case 0:
                left.pop(name, None)
            case 1:
                left[name], left[other] = files[other], files[name]
            case 2:
                left[name_of(dice.choice((0, 1, 1003, 1100, 5000, 10**20 - 1)))] = files[name]
            case 3:
                left[name] = dice.choice(sorted(foreign.values()))
            case 4:
                left[name] = dice.randbytes(dice.choice((0, 1, 4, 40, 5000)))
            case 5:
                ranges = [(0, 10**20 - 1), (5, 3), (900, 1000), (990, 1000)]
                names = [f"{first:020d}-{end:020d}.dropped" for first, end in ranges]
                left[dice.choice(("x.avro", f"{name}.new", *names))] = dice.randbytes(20)
            case 6:
                report = dice.choice((dice.randbytes(20), foreign["last-report"]))
                left["last-report"] = mutated(dice, report)
            case _:
                left[name] = mutated(dice, files[name])
    return left


def seqs_of(files: dict[str, bytes], left: dict[str, bytes]) -> set[int]:
    """What the files that are there were to hold; a file gone or emptied is for the audit to miss."""
    firsts = sorted(int(name[:20]) for name in files)
    spans = zip(firsts, [*firsts[1:], 1200], strict=True)
    return {seq for first, end in spans if left.get(name_of(first)) for seq in range(first, end)}


def undamaged(files: dict[str, bytes], left: dict[str, bytes]) -> set[int]:
    """The seqs of records before the first damage of their file."""
    firsts = sorted(int(name[:20]) for name in files)
    found: set[int] = set()
    for first, end in zip(firsts, [*firsts[1:], 1200], strict=True):
        whole, there = files[name_of(first)], left.get(name_of(first), b"")
        pairs = enumerate(zip(whole, there, strict=False))
        same = next((at for at, (one, other) in pairs if one != other), len(there))
        for seq in range(first, end):
            record = SPOOLED[seq - 1000]
            if whole.index(record) + len(record) + 16 > same:
                break
            found.add(seq)
    return found


def test_a_damaged_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fsmon_producer.spool._SEGMENT_BYTES", 6_000)
    files = spool_files(tmp_path / "7")
    assert len(files) > 3
    foreign = Spool(tmp_path / "8", 8, 1 << 30, lambda: IDENTITY)
    stamp = Stamp(b"", "host-a", 8, 1 << 20)
    foreign.append(1000, stamp.messages(Batch(Cursor(0, 1000), Cursor(0, 1001), [body()])))
    foreign.keep_report(b"report")
    foreign.close()
    of_others = {file.name: file.read_bytes() for file in (tmp_path / "8").iterdir()}
    print(f"FSMON_FUZZ_SEED={SEED}")
    dice, tried = random.Random(SEED), 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        left = damage(dice, files, of_others)
        directory = tmp_path / f"{tried}" / "7"
        directory.mkdir(parents=True, mode=0o700)
        for name, data in left.items():
            (directory / name).write_bytes(data)
        caplog.clear()
        try:
            with in_time():
                got = read_to_its_end(dice, directory, undamaged(files, left))
            if missing := seqs_of(files, left) - got:
                assert [record for record in caplog.records if record.levelname == "ERROR"], missing
        except BaseException:
            print({name: data for name, data in left.items() if files.get(name) != data})
            raise
        shutil.rmtree(directory.parent)
        tried += 1
    print(f"{tried} spools")
    assert tried > SECONDS


def read_to_its_end(dice: random.Random, directory: Path, sound: set[int]) -> set[int]:
    """As the producer does, with an acknowledgement here and there, a failure, and more to come."""
    spool = opened(directory)
    with contextlib.suppress(FsmonError):
        assert spool.identity in (None, IDENTITY)
    assert spool.report in (None, b"report")
    assert spool.dropped.spans in ([], [(900, 1000)], [(990, 1000)])
    appended = max(1200, spool.end)
    spool.append(appended, bodies(appended, 5))
    got: dict[int, bytes] = {}
    steps = 0
    while not spool.empty:
        steps += 1
        assert steps < 1000
        if spool.unread:
            first, read = spool.read(dice.randrange(1, 60))
            got.update({first + index: record for index, record in enumerate(read)})
        reached = first + len(read)
        match dice.randrange(4):
            case 0:
                spool.rewind(max(spool.first, dice.randrange(spool.first, reached + 1)))
            case 1 | 2:
                spool.release(reached if dice.randrange(2) else dice.randrange(1000, reached + 1))
    spool.remove()
    assert sound <= got.keys()
    for seq, record in got.items():
        stamped = encode_string("host-a") + encode_long(7) + encode_long(seq)
        assert record.startswith(stamped)
        if seq in sound:
            assert record == SPOOLED[seq - 1000]
    assert got.keys() >= set(range(appended, appended + 5))
    return set(got)
