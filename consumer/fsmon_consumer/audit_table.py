"""The audit as a table for people."""

from collections.abc import Iterator, Mapping, Sequence

from fsmon_consumer.audit import SPOOL, Audit, Session

_TITLES = (
    "HOST", "SESSION", "STATE", "CAPTURED", "STORED", "DEAD", "EXPIRED", "IN FLIGHT", "UNACCOUNTED",
    "LOST", "DUPLICATES",
)  # fmt: skip
_LEFT = 3  # columns of text; the others are numbers
_SHOWN_RANGES = 5


def audit_table(found: Audit, *, settled_within: float | None = None) -> Iterator[str]:
    """Lines: one a session, the sums, then everything that needs words.

    ``settled_within``: the seconds that were given to everything under way to arrive.
    """
    rows = [_TITLES, *map(_cells, found.sessions)]
    if len(found.sessions) > 1:
        rows.append(("TOTAL", "", "", *_sums(found.sessions)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    for row in rows:
        cells = (
            cell.ljust(width) if column < _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
    yield ""
    for each in found.sessions:
        yield from _remarks(each)
    for key, count in found.unattributed.items():
        yield f"{count:,} dead letters with key {key} could not be told to be one event; they may fill holes"
    for place, count in found.skipped.items():
        yield f"{place}: {count:,} messages were deleted by Kafka's retention before they were read"
    for place, why in found.paused.items():
        yield f"{place} IS PAUSED, nothing more of it is read: {why}"
    if found.behind:
        yield f"{found.behind:,} messages in Kafka are not read yet"
    if not found.sessions:
        yield "no session is known: nothing has been stored yet"
    yield _verdict(found, settled_within)


def _cells(each: Session) -> tuple[str, ...]:
    numbers = (each.captured, each.stored, each.dead, each.expired, each.in_flight, each.unaccounted)
    lost = sum(each.lost.values())
    return (
        each.host_id,
        f"{each.session:016x}",
        each.state,
        *map(_number, (*numbers, lost, each.duplicates)),
    )


def _sums(sessions: list[Session]) -> Iterator[str]:
    for name in ("captured", "stored", "dead", "expired", "in_flight", "unaccounted"):
        values = [getattr(each, name) for each in sessions]
        yield _number(None if None in values else sum(values))
    yield _number(sum(sum(each.lost.values()) for each in sessions))
    yield _number(sum(each.duplicates for each in sessions))


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _remarks(each: Session) -> Iterator[str]:
    name = f"{each.host_id} {each.session:016x}"
    if each.note and (each.unaccounted != 0 or each.state != "ended"):
        yield f"{name}: {each.note}"
    if losses := _losses(each):
        yield f"{name}: lost before the ring: {losses}"
    if each.dropped:
        yield f"{name}: lost at the full spool, its oldest events: {_seqs(each.dropped)}"
    if any(each.uncovered.values()):
        yield f"{name}: calls this backend cannot see into: {_counts(each.uncovered)}"
    if each.holes:
        yield f"{name}: seqs missing: {_seqs(each.holes)}"


def _seqs(spans: Sequence[tuple[int, int]]) -> str:
    shown = ", ".join(
        f"{start}-{stop - 1}" if stop - start > 1 else str(start) for start, stop in spans[:_SHOWN_RANGES]
    )
    return shown + (f" and {len(spans) - _SHOWN_RANGES} more ranges" if len(spans) > _SHOWN_RANGES else "")


def _losses(each: Session) -> str:
    told = []
    for stage, count in sorted(each.lost.items()):
        by_operation = _counts(each.lost_by_operation.get(stage, {}))
        if count and stage != SPOOL:
            told.append(f"{stage} {count:,}" + (f" ({by_operation})" if by_operation else ""))
    return ", ".join(told)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{stage} {count:,}" for stage, count in sorted(counts.items()) if count)


def _verdict(found: Audit, settled_within: float | None) -> str:
    if found.complete and settled_within is not None and not found.settled:
        moving = " and ".join(
            words
            for number, words in (
                (found.in_flight, f"{found.in_flight:,} events under way"),
                (found.behind, f"{found.behind or 0:,} messages not read"),
            )
            if number
        )
        return f"NOT settled within {settled_within:g} s: still {moving}; this account proves nothing yet"
    if found.complete:
        moving = f"; {found.in_flight:,} under way" if found.in_flight else ""
        return f"complete: unaccounted 0{moving}"
    known = sum(each.unaccounted or 0 for each in found.sessions)
    unknown = sum(each.unaccounted is None for each in found.sessions)
    words = [f"{known:,} events unaccounted for"] if known else []
    words += [f"{unknown} sessions that cannot be told"] if unknown else []
    return f"NOT complete: {' and '.join(words)}"
