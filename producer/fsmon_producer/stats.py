"""The producer's figures in one line of log."""

from fsmon_producer.capture import Counters
from fsmon_producer.stamp import StampCounts


def lost_events(counters: Counters) -> int:
    """Events lost in the kernel since the session began, at all stages."""
    return sum(sum(events.values()) for events in counters.lost.values())


def summary(counters: Counters, acknowledged_seq: int, stamped: StampCounts) -> str:
    """Captured, delivered and lost since the session began; parts that are 0 are left out."""
    captured = sum(counters.emitted.values())
    lost = {stage: sum(events.values()) for stage, events in counters.lost.items()}
    parts = [f"captured {captured}", f"delivered {acknowledged_seq}"]
    rest = {
        "waiting": max(0, captured - acknowledged_seq),
        "escaped for they were not UTF-8": stamped.rewritten,
        "sent without paths for their size": stamped.oversize,
        "sent as unknown for they did not decode": stamped.undecodable,
        **{f"lost ({stage})": events for stage, events in sorted(lost.items())},
        **{f"uncovered {kind} calls": calls for kind, calls in sorted(counters.uncovered.items())},
    }
    return ", ".join(parts + [f"{name} {figure}" for name, figure in rest.items() if figure])
