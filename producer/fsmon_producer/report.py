"""CaptureReports: what a session captured, lost and delivered, cumulative since it began."""

import io
import time
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import fastavro
from fsmon_schemas.schema import CAPTURE_REPORT

from fsmon_producer.capture import Counters
from fsmon_producer.destination import Acknowledged
from fsmon_producer.dropped import Span
from fsmon_producer.identity import Session


class Reporter:
    """Writes the reports of one session."""

    def __init__(self, session: Session, backend: str) -> None:
        self._fixed = {
            "host_id": session.host_id,
            "session": session.id,
            "session_start": session.started,
            "boot_id": session.boot_id,
            "hostname": session.hostname,
            "kernel": session.kernel,
            "version": version("fsmon"),
            "backend": backend,
        }
        self._state = "started"

    def body(
        self,
        counters: Counters,
        next_seq: int,
        acknowledged: Acknowledged,
        dropped: Sequence[Span] = (),
        end_reason: str | None = None,
    ) -> bytes:
        """The Avro body of a report of now; with ``end_reason`` it is the last."""
        state = self._state if end_reason is None else "ended"
        self._state = "running"
        emitted = sum(counters.emitted.values())
        lost = {stage: sum(events.values()) for stage, events in counters.lost.items()}
        return _encode(
            {
                **self._fixed,
                "time": time.time_ns() // 1000,
                "boot_time": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "state": state,
                "end_reason": end_reason,
                "emitted": emitted,
                "next_seq": next_seq,
                "acked_seq": acknowledged.cursor.seq,
                # The kernel counts after it wrote: a record read in between is not counted yet.
                "backlog": max(0, emitted - next_seq),
                "acked_partition": acknowledged.partition,
                "acked_offset": acknowledged.offset,
                "operations": _operations(counters),
                "lost": {stage: events for stage, events in lost.items() if events},
                "uncovered": {kind: calls for kind, calls in counters.uncovered.items() if calls},
                "dropped": _ranges(dropped),
            }
        )


def delivered(body: bytes, acknowledged: Acknowledged, dropped: Sequence[Span]) -> bytes:
    """The report, with everything acknowledged or dropped that was not when it was made."""
    report = fastavro.schemaless_reader(io.BytesIO(body), CAPTURE_REPORT.parsed, None)
    assert isinstance(report, dict)
    report["acked_seq"] = max(report["acked_seq"], acknowledged.cursor.seq)
    if acknowledged.offset is not None:
        report["acked_partition"], report["acked_offset"] = acknowledged.partition, acknowledged.offset
    report["dropped"] = _ranges(dropped)
    return _encode(report)


def _ranges(spans: Sequence[Span]) -> list[dict[str, int]]:
    return [{"first": first, "end": end} for first, end in spans]


def _operations(counters: Counters) -> list[dict[str, Any]]:
    lost: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for stage, by_op in counters.lost.items():
        for op, events in by_op.items():
            if events:
                lost[op][stage] = events
    emitted = {op: events for op, events in counters.emitted.items() if events}
    return [
        {
            "op": op,
            "emitted": emitted.get(op, 0),
            "lost": sum(lost.get(op, {}).values()),
            "lost_by_stage": lost.get(op, {}),
        }
        for op in sorted(emitted.keys() | lost.keys())
    ]


def _encode(report: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, CAPTURE_REPORT.parsed, report)
    return stream.getvalue()
