"""Which events of a host stand where they cannot be: damaged messages that still decode.

A producer sends a session's records in the order of their seq, to one partition, each in a message of
its own. So of the messages with one key each takes the next seq, and a message whose session or seq was
damaged is alone between neighbours that go on without it. Believed, it would take the identity of a
sound event, or make a session that never was. Pure: no clock, no database.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(frozen=True)
class Position:
    """One message of a host; ``session`` and ``seq`` are None where it is a dead letter already."""

    offset: int
    session: int | None = None
    seq: int | None = None


@dataclass
class Verdict:
    """Offsets of messages out of place, and of those that only what follows can tell."""

    wrong: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)


def judge(messages: Sequence[Position], reached: Mapping[int, int]) -> Verdict:
    """Of one key's consecutive messages; ``reached`` is the next seq of each session that is known.

    In place is what follows its predecessor; what is alone and is followed by the old order is wrong. Two
    or more that go on from each other are a real gap, or sent again, and are believed.
    """
    verdict = Verdict()
    counted = Counter(each.session for each in messages if each.session is not None)
    strange = {
        each.offset
        for each in messages
        if each.session is not None
        and each.session not in reached
        and counted[each.session] == 1
        and each.seq != 0
    }
    settled = [each.offset for each in messages if each.session is not None and each.offset not in strange]
    last = max(settled, default=-1)
    for offset in strange:
        (verdict.wrong if offset < last else verdict.open).add(offset)
    for session in counted:
        _judge(messages, strange, session, reached.get(session, 0), verdict)
    return verdict


@dataclass
class _Run:
    """Events of a session that follow each other; ``lead`` is seq less position, the same for all."""

    lead: int
    rows: list[Position]


def _judge(
    messages: Iterable[Position], strange: set[int], session: int, reached: int, verdict: Verdict
) -> None:
    runs = _runs(messages, strange, session)
    lowest = list(accumulate((run.lead for run in reversed(runs)), min))[::-1]
    goes_on = _leads_ahead(runs)
    current = following = reached
    for index, run in enumerate(runs):
        seq = run.rows[0].seq or 0
        if len(run.rows) > 1 or (seq >= following and (run.lead <= current or run.lead == goes_on[index])):
            believed = True  # no further ahead than dead letters before it, or before this batch, explain
        elif index + 1 == len(runs):
            if seq >= reached:  # what the ledger knows is for it to compare
                verdict.open.add(run.rows[0].offset)
            continue
        else:
            believed = current < run.lead < lowest[index + 1]  # alone between two gaps
        if believed:
            current = run.lead if len(run.rows) > 1 else max(current, run.lead)
            following = (run.rows[-1].seq or 0) + 1
        else:
            verdict.wrong.add(run.rows[0].offset)


def _leads_ahead(runs: Sequence[_Run]) -> list[int | None]:
    """Of the next run of several, for each: what is alone and has that lead too is in its place."""
    ahead: list[int | None] = []
    lead: int | None = None
    for run in reversed(runs):
        ahead.append(lead)
        lead = run.lead if len(run.rows) > 1 else lead
    return ahead[::-1]


def _runs(messages: Iterable[Position], strange: set[int], session: int) -> list[_Run]:
    runs: list[_Run] = []
    position = 0
    for each in messages:
        if each.session == session and each.offset not in strange:
            lead = (each.seq or 0) - position
            if runs and runs[-1].lead == lead:
                runs[-1].rows.append(each)
            else:
                runs.append(_Run(lead, [each]))
        elif each.session is not None and each.offset not in strange:
            continue  # another session's: it takes no seq of this one
        position += 1
    return runs
