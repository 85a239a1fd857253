"""What the driver does in a folder, and what a capture must show of it."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

COUNT = 23
WAYS = ("absolute", "relative", "dirfd", "symlink", "dotdot", "absent")
VECTORS = (19, 20, 295, 296, 327, 328)  # readv, writev and their relatives: their length is not an argument


def lay_out(folder: Path, noop: Path) -> None:
    for name in ("sub", "up"):
        (folder / name).mkdir(parents=True)
    (folder / "alias").symlink_to(".")
    shutil.copy(noop, folder / "noop")


def run_driver(
    driver: Path,
    way: str,
    folder: Path,
    shown_as: Path,
    view: Sequence[str | Path] = (),
    count: int = COUNT,
    ids: Sequence[int] = (),
) -> tuple[int, Counter[tuple[str, ...]]]:
    """The driver's pid, and what it says must be captured; ``view`` is a command that becomes the driver.

    ``ids``: the uid, euid, gid and egid to do it as.
    """
    command = [*view, driver, way, folder, shown_as, str(count), *map(str, ids)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        expected, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return process.pid, as_told(expected.splitlines())


def as_told(lines: Iterable[str]) -> Counter[tuple[str, ...]]:
    """The driver's lines."""
    return Counter(tuple(line.split("\t")) for line in lines)


def as_expected(event: Mapping[str, Any]) -> tuple[str, ...]:
    """An event in the driver's words."""
    asked = event["length"] if event["op"] in ("read", "write") and event["syscall"] not in VECTORS else None
    if event["op"] in ("truncate", "fallocate", "mmap"):
        asked = event["length"]
    return (
        str(event["pid"]),
        event["op"],
        event["path"],
        event["target_path"] or "-",
        str(event["result"]),
        "-" if asked is None else str(asked),
    )
