"""What capture adds to a system call: wall ns against no program, and ns in eBPF against an empty program."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bcc import BPF
from fsmon_bpf import source
from fsmon_producer.loader import CaptureSettings, load
from fsmon_producer.programs import Capture
from fsmon_producer.ring import Cursor, Ring

_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
_CASES = ("getppid", "pipe", "unwatched", "watched")
_EMPTY = b"int on_sys_exit(struct bpf_raw_tracepoint_args *ctx) { return 0; }"


class Calls:
    """The C program that makes the calls, and two files to read."""

    def __init__(self, folder: Path, count: int) -> None:
        self.program, self.count = folder / "calls", count
        self.watched, unwatched = folder / "watched", folder / "unwatched"
        self.files = {"watched": self.watched / "a/b/c/d/file", "unwatched": unwatched / "a/b/c/d/file"}
        for file in self.files.values():
            file.parent.mkdir(parents=True)
            file.write_text("x")
        source_file = Path(__file__).parent / "calls.c"
        subprocess.run(["gcc", "-O2", "-static", "-o", str(self.program), str(source_file)], check=True)

    def wall(self, case: str) -> float:
        """ns a call, the best of the program's rounds."""
        kind, path = ("file", str(self.files[case])) if case in self.files else (case, "-")
        command = [str(self.program), kind, path, str(self.count)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _run_time(fds: list[int]) -> tuple[int, int]:
    """ns spent in, and runs of, the first of these programs; tail-called bodies count as part of it."""
    words = dict(
        line.split(":", 1)
        for line in Path(f"/proc/self/fdinfo/{fds[0]}").read_text().splitlines()
        if ":" in line
    )
    return int(words["run_time_ns"]), int(words["run_cnt"])


@contextmanager
def _statistics() -> Iterator[None]:
    before = _STATS.read_text()
    _STATS.write_text("1")
    try:
        yield
    finally:
        _STATS.write_text(before)


def _in_bpf(calls: Calls, fds: list[int]) -> dict[str, float]:
    spent = {}
    with _statistics():
        for case in _CASES:
            before = _run_time(fds)
            calls.wall(case)
            after = _run_time(fds)
            spent[case] = (after[0] - before[0]) / (after[1] - before[1])
    return spent


@contextmanager
def _drained(ring: Ring) -> Iterator[None]:
    """Keeps the ring from filling: a full ring would make watched calls cheaper than they are."""
    stop = threading.Event()

    def drain() -> None:
        while not stop.wait(0.02):
            while ring.behind:
                ring.read(50_000, 1 << 20)
                ring.release(ring.cursor)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _dropped(capture: Capture) -> int:
    return capture.counters().lost["ring_full"].get("read", 0)


def _with_empty_program(calls: Calls) -> dict[str, float]:
    os.environ.setdefault("BCC_KERNEL_SOURCE", str(source.KERNEL_STUB))
    bpf: Any = BPF(
        text=_EMPTY, cflags=["-I/usr/include", "-I/usr/include/x86_64-linux-gnu", "-Wno-everything"]
    )
    fd = bpf.load_func(b"on_sys_exit", BPF.RAW_TRACEPOINT).fd
    bpf.attach_raw_tracepoint(tp=b"sys_exit", fn_name=b"on_sys_exit")
    try:
        return _in_bpf(calls, [fd])
    finally:
        bpf.cleanup()


@contextmanager
def calls_in(folder: Path, count: int) -> Iterator[Calls]:
    """The calls, with their files in a directory of their own below ``folder``."""
    with TemporaryDirectory(prefix="calls-", dir=folder) as own:
        yield Calls(Path(own), count)


def measure(count: int) -> list[str]:
    """The table, a line a case; ``count`` calls a round."""
    with TemporaryDirectory(prefix="fsmon-bench-") as folder, calls_in(Path(folder), count) as calls:
        without = {case: calls.wall(case) for case in _CASES}
        empty = _with_empty_program(calls)
        with load(CaptureSettings(watch=(calls.watched,), ring_bytes=64 << 20)) as capture:
            ring = Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))
            with _drained(ring):
                attached = {case: calls.wall(case) for case in _CASES}
                spent = _in_bpf(calls, [capture.program_fd("sys_exit")])
            lost = _dropped(capture)
            emitted = sum(capture.counters().emitted.values())
            for case in ("getppid", "pipe", "unwatched"):
                calls.wall(case)
            assert sum(capture.counters().emitted.values()) == emitted, "what nobody watches was captured"
            while _dropped(capture) == lost:
                calls.wall("watched")
            orphaned = calls.wall("watched")  # nobody reads, and the ring is full
            ring.close()
        again = {case: calls.wall(case) for case in _CASES}
    lines = [f"{'call':12}{'without':>10}{'with':>10}{'added':>10}{'ratio':>8}{'in eBPF, less empty':>22}"]
    for case in _CASES:
        base = min(without[case], again[case])
        lines.append(
            f"{case:12}{base:>7.0f} ns{attached[case]:>7.0f} ns{attached[case] - base:>+7.0f} ns"
            f"{attached[case] / base:>8.2f}{spent[case] - empty[case]:>19.0f} ns"
        )
    base = min(without["watched"], again["watched"])
    lines.append(
        f"{'ring full':12}{base:>7.0f} ns{orphaned:>7.0f} ns{orphaned - base:>+7.0f} ns"
        f"{orphaned / base:>8.2f}"
    )
    lines.append(f"watched reads lost to a full ring while measuring: {lost}")
    return lines


def ratios(count: int) -> list[str]:
    """What a call costs beside one without fsmon, on the backend that this kernel is given: for guests, whose
    nanoseconds are an emulator's."""
    with TemporaryDirectory(prefix="fsmon-bench-") as folder, calls_in(Path(folder), count) as calls:
        before = {case: calls.wall(case) for case in _CASES}
        with load(CaptureSettings(watch=(calls.watched,), ring_bytes=64 << 20)) as capture:
            backend = capture.backend
            ring = Ring(capture.ring_fd, capture.ring_bytes, Cursor(*capture.read_cursor()))
            with _drained(ring):
                attached = {case: calls.wall(case) for case in _CASES}
            ring.close()
        after = {case: calls.wall(case) for case in _CASES}
    without = {case: min(before[case], after[case]) for case in _CASES}
    return [
        f"{backend} {case:12}{base:>8.0f} ns{attached[case]:>8.0f} ns{attached[case] / base:>8.2f}"
        for case, base in without.items()
    ]


if __name__ == "__main__":
    print("\n".join(ratios(int(sys.argv[1])) if len(sys.argv) > 1 else measure(200_000)))
