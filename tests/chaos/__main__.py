"""The long form: `make chaos [ROUNDS=25] [T=test]`. Goes on where it was stopped, and writes docs/chaos.md.

The journal, .local/chaos/journal.jsonl, has a line for each round that was passed; remove it to begin anew.
"""

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from typing import Any

from chaos.rounds import Journal
from local.places import ROOT

_JOURNAL = ROOT / ".local" / "chaos" / "journal.jsonl"
_PAGE = ROOT / "docs" / "chaos.md"
_MARK = "<!-- written by make chaos -->\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=25, help="of each test (25)")
    options.add_argument("-k", dest="only", help="pytest's expression, as 'kill and broker'")
    given = options.parse_args()
    words = [sys.executable, "-m", "pytest", "-s", "-p", "no:randomly", "-p", "no:cacheprovider"]
    words += [str(ROOT / "tests" / "chaos"), *(["-k", given.only] if given.only else [])]
    environment = {
        **os.environ,
        "FSMON_CHAOS_ROUNDS": str(given.rounds),
        "FSMON_CHAOS_JOURNAL": str(_JOURNAL),
    }
    code = subprocess.run(words, env=environment, cwd=ROOT, check=False).returncode
    text = _PAGE.read_text(encoding="utf-8").partition(_MARK)[0]
    _PAGE.write_text(text + _MARK + "\n".join(table(Journal(_JOURNAL).rounds())) + "\n", encoding="utf-8")
    print(f"{_JOURNAL.relative_to(ROOT)} and {_PAGE.relative_to(ROOT)} are written")
    sys.exit(code)


def table(rounds: list[dict[str, Any]]) -> list[str]:
    """A Markdown table, a row for each test: sums, but of rates the least, of waits and memory the most."""
    lines = [
        "",
        "| test | rounds passed | figures of all rounds | on commits | last |",
        "|---|---|---|---|---|",
    ]
    tests = defaultdict(list)
    for each in rounds:
        tests[each["test"]].append(each)
    for test, passed in sorted(tests.items()):
        named = list(dict.fromkeys(name for each in passed for name in each["figures"]))
        figures = []
        for name in named:
            values = [each["figures"][name] for each in passed if name in each["figures"]]
            if name == "rate":
                figures.append(f"rate ≥ {min(values):,}")
            elif name.startswith(("ms ", "MiB ")):
                figures.append(f"{name} ≤ {max(values):,}")
            else:
                figures.append(f"{name} {sum(values):,}")
        commits = ", ".join(dict.fromkeys(each["commit"] for each in passed))
        lines.append(
            f"| {test} | {len(passed)} | {'; '.join(figures)} | {commits} | {max(e['day'] for e in passed)} |"
        )
    return lines


if __name__ == "__main__":
    main()
