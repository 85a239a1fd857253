"""Where the backends differ, as docs/backends.md: from the ``differs`` marks of tests/kernel.

A mark is what its test holds the backends to, so that the table says nothing that was not seen.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parent / "kernel"
_HEAD = """<!-- Written by `make docs` from the marks in tests/kernel: do not edit. -->
# Where the backends differ

Everything else is one suite, the same on both. An event is shown as *operation = result*; `uncovered.…` is
a counter of what a backend cannot see into. `fentry` shows what `lsm` does.

| case | `lsm` | `tracepoint` | why |
|---|---|---|---|
"""


def _marks(tree: ast.Module) -> Iterator[dict[str, Any]]:
    for test in tree.body:
        if not isinstance(test, ast.FunctionDef):
            continue
        for decorator in test.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.differs":
                yield {
                    keyword.arg: ast.literal_eval(keyword.value)
                    for keyword in decorator.keywords
                    if keyword.arg
                }


def _shown(outcomes: tuple[str, ...]) -> str:
    return ", ".join(f"`{outcome}`" for outcome in outcomes) or "nothing"


def table() -> str:
    """The document's whole text."""
    rows = [
        mark
        for path in sorted(_TESTS.glob("test_*.py"))
        for mark in _marks(ast.parse(path.read_text(encoding="utf-8")))
    ]
    return _HEAD + "".join(
        f"| {row['case']} | {_shown(row['lsm'])} | {_shown(row['tracepoint'])} | {row['reason']} |\n"
        for row in rows
    )


if __name__ == "__main__":
    print(table(), end="")
