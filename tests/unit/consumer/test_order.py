"""A damaged session or seq is told from gaps, from events sent again, and from sessions side by side."""

import random

from fsmon_consumer.order import Position, judge
from hypothesis import given
from hypothesis import strategies as st

S = 7  # the session; 8 and 9 are others


def messages(*seqs: int | tuple[int, int] | None) -> list[Position]:
    """A seq of S, None for a dead letter, or (session, seq)."""
    made = []
    for offset, seq in enumerate(seqs):
        match seq:
            case None:
                made.append(Position(offset))
            case (session, number):
                made.append(Position(offset, session, number))
            case int():
                made.append(Position(offset, S, seq))
    return made


def told(*seqs: int | tuple[int, int] | None, reached: int = 5) -> tuple[list[int], list[int]]:
    """Offsets out of place, and those left open, where S goes on at ``reached``."""
    verdict = judge(messages(*seqs), {S: reached} if reached else {})
    return sorted(verdict.wrong), sorted(verdict.open)


def test_what_is_in_place() -> None:
    for sound in (
        (5, 6, 7),
        (5, None, 7, None, 9),  # dead letters take their seq
        (None, None, 7),
        (5, None, 6, None, 7),  # strays between, which take none
        (20, 21, 22),  # a real gap
        (5, 20, 21, 30, 31),
        (5, 9, 15, 16),  # a single one between two gaps
        (5, 6, 7, 6, 7, 8),  # sent again
        (5, 6, 6, 7),
        ((8, 0), (8, 1), 5, (8, 2), 6, (8, 3)),  # the host's next session, while this one is drained
        (5, 6, (8, 0)),  # a new session's first event
        (5, (8, 30), (8, 31), 6),
    ):
        assert told(*sound) == ([], []), sound


def test_what_is_out_of_place() -> None:
    assert told(5, 1000, 7, 8) == ([1], [])
    assert told(1000, 6, 7) == ([0], [])
    assert told(5, 7, 7, 8) == ([1], []), "it took its neighbour's seq before that came"
    assert told(5, 6, 7, 7, 9) == ([3], []), "and after"
    assert told(5, 2, 7, 8) == ([1], [])
    assert told(6, 1000, 8, 9) == ([1], []), "the letter that took 5 was of the batch before"
    assert told(6, 1000, 8, 3, 10, 11) == ([1, 3], [])
    assert told(5, 1000, 999, 8, 9) == ([1, 2], [])
    assert told(5, (9, 6), 7) == ([1], []), "no session that was ever announced"
    assert told((9, 5), None, (11, 7), 8) == ([0, 2], [])


def test_what_only_the_next_messages_tell() -> None:
    assert told(5, 6, 1000) == ([], [2])
    assert told(1000) == ([], [0])
    assert told((9, 5)) == ([], [0])
    assert told(5, (9, 6), None) == ([], [1])


def stream(kinds: list[str], dice: random.Random) -> tuple[list[Position], set[int]]:
    """Messages of these kinds from seq 5 on with two sound ones behind, and the offsets of the sound.

    Of three messages at most one is damaged in its session or seq.
    """
    made, sound, seq, since = [], set(), 5, 3
    for offset, kind in enumerate([*kinds, "sound", "sound"]):
        since += 1
        match "sound" if kind in {"session", "seq"} and since < 3 else kind:
            case "dead":
                made.append(Position(offset))
            case "session":
                made.append(Position(offset, 1000 + offset, seq))
                since = 0
            case "seq":
                made.append(Position(offset, S, seq ^ 1 << dice.randrange(40)))
                since = 0
            case "stray":
                made.append(Position(offset))
                continue
            case _:
                made.append(Position(offset, S, seq))
                sound.add(offset)
        seq += 1
    return made, sound


@given(
    st.lists(st.sampled_from(["sound", "dead", "session", "seq"]), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_neighbours_of_damaged_messages_are_never_taken_for_damaged(
    kinds: list[str], dice: random.Random
) -> None:
    made, sound = stream(kinds, dice)
    verdict = judge(made, {S: 5})
    assert not verdict.wrong & sound
    assert not verdict.open
    kept = [each.seq for each in made if each.session == S and each.offset not in verdict.wrong]
    assert len(kept) == len(set(kept)), "a damaged one has a neighbour's seq"


@given(st.lists(st.sampled_from(["sound", "dead", "stray"]), min_size=1, max_size=60))
def test_nothing_is_out_of_place_without_damage(kinds: list[str]) -> None:
    verdict = judge(stream(kinds, random.Random(1))[0], {S: 5})
    assert (verdict.wrong, verdict.open) == (set(), set())
