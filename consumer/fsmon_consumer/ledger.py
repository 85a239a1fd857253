"""Sets of sequence numbers as sorted, disjoint, half-open ranges, and their PostgreSQL text.

The ledger keeps of every session one int8multirange of the seqs that are settled; in order and
without loss it is a single range. Pure: no clock, no database.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_RANGE = re.compile(r"\[(-?\d+),(-?\d+)\)")


@dataclass(frozen=True)
class Ranges:
    """A set of integers. ``spans`` is sorted, disjoint and not adjacent; each is [start, stop)."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, spans: Iterable[tuple[int, int]]) -> "Ranges":
        """The union of any ranges, in any order; empty ones count for nothing."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(spans):
            if start >= stop:
                continue
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
            else:
                merged.append((start, stop))
        return cls(tuple(merged))

    @classmethod
    def parse(cls, text: str) -> "Ranges":
        """Read PostgreSQL's text of an int8multirange, as in ``{[0,7),[9,12)}``.

        PostgreSQL writes discrete ranges in this canonical form (manual, 8.17.7). Unbounded
        ranges never stand in the ledger: ValueError.
        """
        spans = tuple((int(start), int(stop)) for start, stop in _RANGE.findall(text))
        if cls(spans).text() != text.replace(" ", ""):
            raise ValueError(f"not a bounded int8multirange: {text!r}")
        return cls(spans)

    def text(self) -> str:
        """PostgreSQL's text of this set as an int8multirange."""
        return "{" + ",".join(f"[{start},{stop})" for start, stop in self.spans) + "}"

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.spans)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.spans)

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self.spans, number, key=lambda span: span[0]) - 1
        return index >= 0 and number < self.spans[index][1]

    def __sub__(self, other: "Ranges") -> "Ranges":
        """What is in this set and not in the other, in one pass over both."""
        left, cuts, index = [], other.spans, 0
        for start, stop in self.spans:
            while index < len(cuts) and cuts[index][0] < stop:
                cut, end = cuts[index]
                left.append((start, min(cut, stop)))
                start = max(start, end)  # noqa: PLW2901 - what is left of the span
                if end > stop:
                    break  # it reaches into the next span
                index += 1
            left.append((start, stop))
        return Ranges.of(left)

    def __and__(self, other: "Ranges") -> "Ranges":
        """What is in both."""
        return self - (self - other)

    @property
    def stop(self) -> int:
        """One above the highest member; 0 for the empty set."""
        return self.spans[-1][1] if self.spans else 0

    def overlaps(self, start: int, stop: int) -> bool:
        """Whether a member lies in [start, stop), which must not be empty."""
        index = bisect_right(self.spans, start, key=lambda span: span[0]) - 1
        if index >= 0 and self.spans[index][1] > start:
            return True
        return index + 1 < len(self.spans) and self.spans[index + 1][0] < stop
