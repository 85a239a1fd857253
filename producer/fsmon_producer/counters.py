"""What the kernel has counted of a session, read from its maps and programs: those of any version of ours."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsmon_bpf.hooks import HOOKS, Way

# Of each program that sees one operation only.
_OPS = {hook.program(way).encode(): hook.ops[0] for hook in HOOKS for way in Way if len(hook.ops) == 1}


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted since the programs were loaded; every figure only grows."""

    emitted: Mapping[str, int]  # op -> events put into the ring
    lost: Mapping[str, Mapping[str, int]]  # stage -> op -> events wanted and lost there
    uncovered: Mapping[str, int]  # kind -> system calls this backend cannot see into


def counted(
    objects: Any,
    operations: Sequence[str],
    stages: Sequence[str],
    uncovered: Mapping[str, int],
    skipped_before: Mapping[str, int],
) -> Counters:
    """What maps and programs say; names are what the maps' indexes mean, ``stages`` without the first.

    ``skipped_before``: what ``skipped`` said when the session began.
    """
    outcomes = [_sum(values) for values in objects[b"outcomes"].values()]
    by_stage = [
        outcomes[start : start + len(operations)] for start in range(0, len(outcomes), len(operations))
    ]
    calls = [_sum(values) for values in objects[b"uncovered"].values()]
    lost = {stage: _named(operations, figures) for stage, figures in zip(stages, by_stage[1:], strict=True)}
    return Counters(
        emitted=_named(operations, by_stage[0]),
        lost={**lost, "recursion": dict(Counter(skipped(objects)) - Counter(skipped_before))},
        uncovered={kind: calls[index] for kind, index in uncovered.items() if calls[index]},
    )


def skipped(objects: Any) -> dict[str, int]:
    """How often the kernel skipped a program: one that ran already on that CPU, preempted (fentry only).

    A bound from above: nobody knows what a skipped program would have found, or whether it is watched.
    Those that see more than one operation count for "unknown".
    """
    found: Counter[str] = Counter()
    for name, program in objects.funcs.items():
        # proc(5), fdinfo of a program: bpf_prog_info's recursion_misses, since Linux 5.12
        fdinfo = Path(f"/proc/self/fdinfo/{program.fd}").read_text(encoding="ascii")
        figures = dict(line.split(":", 1) for line in fdinfo.splitlines())
        if misses := int(figures["recursion_misses"]):
            found[_OPS.get(name, "unknown")] += misses
    return dict(found)


def _sum(values: Any) -> int:
    return int(sum(value.value if hasattr(value, "value") else value for value in values))


def _named(operations: Sequence[str], figures: list[int]) -> dict[str, int]:
    return {op: figure for op, figure in zip(operations, figures, strict=True) if figure}
