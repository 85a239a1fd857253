"""docs/backends.md is what the tests of the backends say."""

from pathlib import Path

import differences

_TABLE = Path(__file__).parents[2] / "docs/backends.md"


def test_the_table_of_differences_is_what_the_tests_say() -> None:
    assert _TABLE.read_text(encoding="utf-8") == differences.table(), "run `make docs`"
