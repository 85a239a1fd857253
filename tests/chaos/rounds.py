"""Rounds of a chaos test: a seed each, printed; what is done already is not done again.

`make chaos` sets FSMON_CHAOS_ROUNDS (how many) and FSMON_CHAOS_JOURNAL (where they are written down);
without them it is two rounds and no journal. FSMON_CHAOS_SEED repeats the one round of that seed.
"""

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.places import ROOT

SHORT = 2


def long_form() -> bool:
    """Whether this is `make chaos`."""
    return "FSMON_CHAOS_JOURNAL" in os.environ


@dataclass
class Round:
    """One round; ``figures`` is what the table shows of it."""

    test: str
    number: int
    seed: int
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def dice(self) -> random.Random:
        return random.Random(self.seed)


class Journal:
    """The rounds that were passed, a JSON line each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rounds(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    def write(self, done: Round, took: float) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        commit = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        line = {
            "test": done.test,
            "seed": done.seed,
            "commit": commit,
            "day": time.strftime("%Y-%m-%d", time.gmtime()),
            "seconds": round(took, 1),
            "figures": done.figures,
        }
        with self._path.open("a") as journal:
            journal.write(json.dumps(line) + "\n")


class Rounds:
    """Iterates over the rounds still to do of one test; a round counts when its body did not raise."""

    def __init__(self, test: str) -> None:
        self._test = test
        self._wanted = int(os.environ.get("FSMON_CHAOS_ROUNDS", "0"))
        path = os.environ.get("FSMON_CHAOS_JOURNAL")
        self._journal = Journal(Path(path)) if path else None

    def __iter__(self) -> Iterator[Round]:
        wanted = self._wanted or SHORT
        repeated = os.environ.get("FSMON_CHAOS_SEED")
        if repeated:
            yield from self._round(0, 1, int(repeated))
            return
        done = sum(each["test"] == self._test for each in self._journal.rounds()) if self._journal else 0
        for number in range(done, wanted):
            yield from self._round(number, wanted, random.SystemRandom().getrandbits(32))

    def _round(self, number: int, wanted: int, seed: int) -> Iterator[Round]:
        print(f"\nchaos: {self._test}, round {number + 1} of {wanted}, FSMON_CHAOS_SEED={seed}", flush=True)
        this, begun = Round(self._test, number, seed), time.monotonic()
        yield this
        took = time.monotonic() - begun
        print(f"chaos: passed in {took:.1f} s: {this.figures}", flush=True)
        if self._journal is not None:
            self._journal.write(this, took)
