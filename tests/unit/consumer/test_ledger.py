"""The ledger's set algebra against Python's own sets, and its text against PostgreSQL's form."""

import time

import pytest
from fsmon_consumer.ledger import Ranges
from hypothesis import given
from hypothesis import strategies as st

numbers = st.sets(st.integers(0, 60))


def ranges(members: set[int]) -> Ranges:
    return Ranges.of((number, number + 1) for number in members)


def members(found: Ranges) -> set[int]:
    return {number for start, stop in found for number in range(start, stop)}


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))))
def test_union_length_and_membership_are_those_of_sets(spans: list[tuple[int, int]]) -> None:
    union, expected = Ranges.of(spans), {number for start, stop in spans for number in range(start, stop)}
    assert members(union) == expected
    assert len(union) == len(expected)
    assert all((number in union) == (number in expected) for number in range(-1, 62))
    assert union.stop == max(expected, default=-1) + 1
    assert all(stop < start for (_, stop), (start, _) in zip(union.spans, union.spans[1:], strict=False))


@given(numbers, st.integers(-1, 62), st.integers(1, 20))
def test_overlaps(a: set[int], start: int, length: int) -> None:
    assert ranges(a).overlaps(start, start + length) == bool(a & set(range(start, start + length)))


@given(numbers, numbers)
def test_difference_and_common_part(a: set[int], b: set[int]) -> None:
    assert members(ranges(a) - ranges(b)) == a - b
    assert members(ranges(a) & ranges(b)) == a & b


@given(numbers)
def test_text_is_read_back(a: set[int]) -> None:
    assert Ranges.parse(ranges(a).text()) == ranges(a)


def test_text_is_postgresqls() -> None:
    assert Ranges.of([(9, 12), (0, 3), (3, 7), (5, 5)]).text() == "{[0,7),[9,12)}"
    assert Ranges().text() == "{}"


@pytest.mark.parametrize("text", ["{(,5)}", "{[0,7)", "{[7,9),[0,3", "[0,7)", "{(0,7]}"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="int8multirange"):
        Ranges.parse(text)


def test_a_difference_is_one_pass() -> None:
    """A report may declare as many ranges as a message holds."""
    many = Ranges.of((2 * number, 2 * number + 1) for number in range(50_000))
    begun = time.process_time()
    assert (many - many).spans == ()
    assert len(Ranges.of([(0, 100_000)]) - many) == 50_000
    assert time.process_time() - begun < 5  # every one against every other took minutes
