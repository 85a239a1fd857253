"""Every operation is captured or counted as lost, and each record is of one operation alone."""

import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest
from fsmon_consumer.columns import BlockReader
from fsmon_schemas import FILE_EVENT
from fsmon_schemas.framing import encode_long

from .conftest import Programs, Watch
from .operations import lay_out, run_driver

pytestmark = [pytest.mark.kernel, pytest.mark.vm]

THREADS = 8
WRITES = 100_000


def outcomes(watch: Watch) -> tuple[Mapping[str, int], Counter[str]]:
    """Events put into the ring, and all that were lost on the way, by operation."""
    counters = watch.capture.counters()
    lost: Counter[str] = Counter()
    for figures in counters.lost.values():
        lost.update(figures)
    return counters.emitted, lost


def frame_of(bodies: list[bytes]) -> pl.DataFrame:
    """Events as columns: a hundred thousand, one by one, would take minutes under emulation."""
    stamped = encode_long(1) + b"h" + encode_long(0) * 2
    return BlockReader(FILE_EVENT).read([stamped + body for body in bodies], [b"h"] * len(bodies))


def test_no_record_of_eight_threads_holds_anothers_data(
    tmp_path: Path, programs: Programs, watching: Callable[..., Watch]
) -> None:
    watch = watching(tmp_path)
    watch.bodies()
    emitted, lost = outcomes(watch)
    with subprocess.Popen(
        [programs.storm, str(tmp_path), str(WRITES)], stdout=subprocess.PIPE, text=True
    ) as storm:
        bodies = watch.bodies_until(storm)
        assert storm.stdout is not None
        lines = [tuple(map(int, line.split())) for line in storm.stdout]
    assert storm.returncode == 0
    threads = pl.DataFrame(lines, schema=["t", "expected_tid", "expected_inode"], orient="row")
    assert threads.height == THREADS
    t, i, thread = pl.col("t"), pl.col("i"), pl.format("thread-{}", "t")
    writes = (
        frame_of(bodies)
        .filter(pl.col("op") == "write")
        .with_columns(t=pl.col("offset") % THREADS, i=pl.col("offset") // THREADS)
        .join(threads, on="t", how="left")
        .with_columns(expected_length=1 + t + 8 * (i % 50))
    )
    expected = {
        "pid": storm.pid, "tid": pl.col("expected_tid"), "comm": thread, "exe": str(programs.storm),
        "path": pl.concat_str(pl.lit(f"{tmp_path}/"), thread), "inode": pl.col("expected_inode"),
        "length": pl.col("expected_length"), "result": pl.col("expected_length"), "target_path": None,
        "xattr_name": None, "deleted": False, "path_truncated": False,
    }  # fmt: skip
    is_whole = [pl.col(name).eq_missing(value) for name, value in expected.items()]
    assert writes.filter(~pl.all_horizontal(is_whole)).rows(named=True) == []
    assert not writes.select(t, i).is_duplicated().any()
    emitted_after, lost_after = outcomes(watch)
    assert writes.height == emitted_after["write"] - emitted.get("write", 0)
    accounted = writes.height + lost_after["write"] - lost["write"]
    assert accounted == WRITES


def test_a_reader_that_is_late_costs_what_is_counted(
    tmp_path: Path, programs: Programs, watching: Callable[..., Watch]
) -> None:
    """captured + lost = done, for each operation."""
    watch = watching(tmp_path)
    lay_out(tmp_path / "late", programs.noop)
    watch.bodies()
    watch.leave_room(64 << 10)
    emitted, lost = outcomes(watch)
    _, expected = run_driver(programs.driver, "absolute", tmp_path / "late", tmp_path / "late")
    emitted_after, lost_after = outcomes(watch)
    done = Counter(event[1] for event in expected.elements())
    captured = Counter(event["op"] for event in watch.events())
    assert captured == Counter(emitted_after) - Counter(emitted)
    assert captured + (lost_after - lost) == done
    assert set(lost_after - lost) == set(done)
    assert captured
