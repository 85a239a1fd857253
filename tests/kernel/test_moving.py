"""Four processes write while their files, and what is above these, are renamed: into the watch, out, within.

From a rename's return on, a write is captured if its file is below the watched directory, and not if not.
Of a write during the rename either verdict holds. Its path is one that the file had while it was written;
where the rename outlasts the walk's patience it begins below the renamed directory and says so.
"""

import subprocess
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Self

import pytest
from vm.scale import scaled

from .conftest import Event, Programs, Watch, decode

pytestmark = [pytest.mark.kernel, pytest.mark.vm]

WRITES = 20_000
WATCHED = "outer/watched"
FOLDERS = (*(f"{WATCHED}/{name}" for name in ("a", "b/sub", "stay", "other", "d")), "out/c")


@dataclass(frozen=True)
class Rename:
    """Times are ns of the boot clock: before the call and after it."""

    exchange: bool
    begin: int
    end: int
    source: str
    target: str

    def applied(self, path: str) -> str:
        if path == self.source or path.startswith(f"{self.source}/"):
            return self.target + path.removeprefix(self.source)
        if self.exchange and (path == self.target or path.startswith(f"{self.target}/")):
            return self.source + path.removeprefix(self.target)
        return path


@dataclass
class Writer:
    """One of the processes, and what must be captured of it."""

    number: int
    pid: int
    inode: int
    name: str  # of its file, before the first rename
    spans: list[tuple[int, int]] = field(default_factory=list)
    # Before the first rename and after each: the file's name, and whether it is below the watched directory.
    states: list[tuple[str, bool]] = field(default_factory=list)

    def states_in(self, i: int, begins: list[int], ends: list[int]) -> set[tuple[str, bool]]:
        """Those that may have been seen during write i."""
        begin, end = self.spans[i]
        return set(self.states[bisect_left(ends, begin) : bisect_right(begins, end) + 1])


@dataclass
class Run:
    """What the movers did. Paths are relative to where they did it."""

    renames: list[Rename]
    writers: list[Writer]

    @classmethod
    def parsed(cls, lines: list[str]) -> Self:
        run = cls([], [])
        for kind, *words in map(str.split, lines):
            if kind == "F":
                run.writers.append(Writer(int(words[0]), int(words[1]), int(words[2]), words[3]))
            elif kind == "W":
                run.writers[int(words[0])].spans.append((int(words[1]), int(words[2])))
            else:
                run.renames.append(Rename(words[0] == "1", int(words[1]), int(words[2]), *words[3:]))
        for writer in run.writers:
            named = zip(run.names(writer.name), run.names(WATCHED), strict=True)
            writer.states = [(name, name.startswith(f"{watched}/")) for name, watched in named]
        return run

    def names(self, first: str) -> Iterator[str]:
        """Of what was named so before the first rename: then, and after each."""
        return accumulate(self.renames, lambda name, rename: rename.applied(name), initial=first)

    def expected_renames(self) -> Iterator[tuple[str, str, str]]:
        for rename, watched in zip(self.renames, self.names(WATCHED), strict=False):
            inside = any(path.startswith(f"{watched}/") for path in (rename.source, rename.target))
            if inside or rename.source == watched:
                yield "exchange" if rename.exchange else "rename", rename.source, rename.target


def is_named(event: Event, path: str) -> bool:
    return path.endswith(f"/{event['path']}") if event["path_truncated"] else event["path"] == path


def run_movers(root: Path, programs: Programs, watch: Watch) -> tuple[Run, list[Event]]:
    watch.bodies()
    with (root / "log").open("w+") as log:
        with subprocess.Popen(
            [programs.movers, str(root), str(scaled(WRITES))], stdout=log, text=True
        ) as movers:
            bodies = watch.bodies_until(movers)
        assert movers.returncode == 0
        log.seek(0)
        return Run.parsed(log.read().splitlines()), list(map(decode, bodies))


def test_no_write_is_missed_or_misattributed(
    tmp_path: Path, programs: Programs, watching: Callable[..., Watch]
) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    watch = watching(tmp_path / WATCHED)
    lost = watch.capture.counters().lost
    run, events = run_movers(tmp_path, programs, watch)
    assert watch.capture.counters().lost == lost
    renames = [
        (event["op"], event["path"], event["target_path"])
        for event in events
        if event["op"] in ("rename", "exchange")
    ]
    root = f"{tmp_path}/"
    assert renames == [(op, root + source, root + target) for op, source, target in run.expected_renames()]
    captured = defaultdict(list)
    for event in events:
        if event["op"] == "write":
            captured[event["pid"], event["offset"]].append(event)
    begins, ends = [rename.begin for rename in run.renames], [rename.end for rename in run.renames]
    wrong = []
    firm = {True: 0, False: 0}
    for writer in run.writers:
        for i in range(len(writer.spans)):
            states = writer.states_in(i, begins, ends)
            found = captured.pop((writer.pid, i), [])
            verdicts = {watched for _, watched in states}
            is_right = len(found) in verdicts and all(
                any(is_named(event, root + name) for name, _ in states)
                and (event["inode"], event["length"], event["result"])
                == (writer.inode, 1 + writer.number, 1 + writer.number)
                for event in found
            )
            if len(verdicts) == 1:
                firm[verdicts.pop()] += 1
            if not is_right:
                wrong.append((writer.number, i, states, [event["path"] for event in found]))
    print(
        f"{len(run.renames)} renames; writes that must be captured, and must not: {firm[True]}, {firm[False]}"
    )
    assert wrong == []
    assert sum(event["path_truncated"] for event in events) < 10
    assert captured == {}
    assert min(firm.values()) > 0
