"""docs/complaints.md names tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_each_complaint_is_held_by_a_test_that_is_there() -> None:
    page = (TESTS.parent / "docs" / "complaints.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert len(named) > 30
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (TESTS / file).exists() or f"def {test}(" not in (TESTS / file).read_text()
    ]
    assert not missing
