"""Many files that are given a watched name while nobody looks: bounded, counted, no bar to a start."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fsmon_producer.watches import _ADOPTED

from .conftest import Watch

pytestmark = pytest.mark.kernel


def test_more_files_than_the_kernel_may_add(watching: Callable[..., Watch], tmp_path: Path) -> None:
    capture = watching().capture
    rules = [each.path for each in capture.watched()]
    file = tmp_path / "f"
    file.write_text("first")
    capture.watch(file)
    watches, before = capture._bpf[b"watches"], capture.counters().uncovered.get("unresolved", 0)
    names = [tmp_path / f"{number}" for number in range(_ADOPTED + 100)]
    for name in names:
        name.touch()
    for name in names:
        os.rename(name, file)  # noqa: PTH104 - quicker
    uncounted = _ADOPTED + 100 - (capture.counters().uncovered["unresolved"] - before)
    assert uncounted == len(watches) - len(rules) - 1
    assert uncounted <= _ADOPTED
    capture.resume([*rules, file], [], forget=False)
    assert len(watches) < 4096 + 50
    capture.rewatch(rules, [])
    assert len(watches) == len(rules)
