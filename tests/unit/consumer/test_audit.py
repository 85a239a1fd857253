"""The audit's arithmetic: captured = stored + dead + expired + in flight + unaccounted, always."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fsmon_consumer.audit import Audit, Report, Session, account
from fsmon_consumer.audit_table import audit_table
from fsmon_consumer.ledger import Ranges
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RUNNING = Report("running", None, NOW, "boot-1", 100, 90, 2, 500, {}, {}, placed_seq=90)
ENDED = replace(RUNNING, state="ended", end_reason="stopped", acked_seq=100, placed_seq=100)


def audited(
    report: Report | None,
    seen: list[tuple[int, int]],
    next_offset: int | None,
    successor: Report | None = None,
) -> Session:
    ranges = Ranges.of(seen)
    return account(
        ("h", 1), report, ranges, (len(ranges), 0, 0, 0), next_offset=next_offset, successor=successor
    )


def figures(session: Session) -> tuple[int | None, int, int | None]:
    return session.captured, session.in_flight, session.unaccounted


def test_all_stored_of_an_ended_session() -> None:
    assert figures(audited(ENDED, [(0, 100)], 501)) == (100, 0, 0)


def test_a_hole_below_what_came_later_is_unaccounted() -> None:
    found = audited(ENDED, [(0, 50), (53, 100)], 501)
    assert figures(found) == (100, 0, 3)
    assert found.holes == ((50, 53),)


def test_what_the_reader_has_not_reached_is_in_flight() -> None:
    assert figures(audited(ENDED, [(0, 40)], 300)) == (100, 60, 0)
    assert figures(audited(ENDED, [(0, 40)], None)) == (100, 60, 0)


def test_once_passed_the_missing_tail_is_unaccounted() -> None:
    assert figures(audited(RUNNING, [(0, 40)], 501)) == (100, 10, 50)


def test_not_acknowledged_is_in_flight_while_running_and_unaccounted_when_ended() -> None:
    assert figures(audited(RUNNING, [(0, 90)], 501)) == (100, 10, 0)
    assert figures(audited(replace(ENDED, acked_seq=90), [(0, 90)], 501)) == (100, 0, 10)


def test_events_newer_than_the_report_count_as_captured() -> None:
    assert figures(audited(RUNNING, [(0, 130)], 501)) == (130, 0, 0)


def test_acknowledged_at_an_unknown_place_is_in_flight() -> None:
    assert figures(audited(replace(RUNNING, acked_offset=None), [(0, 40)], 900)) == (100, 60, 0)


def test_what_was_acknowledged_after_the_known_place_is_in_flight() -> None:
    assert figures(audited(replace(RUNNING, placed_seq=50), [(0, 40)], 501)) == (100, 50, 10)
    assert figures(audited(replace(ENDED, placed_seq=50), [(0, 60)], 501)) == (100, 40, 0)


def test_an_empty_session_is_complete() -> None:
    empty = replace(ENDED, emitted=0, acked_seq=0, acked_offset=None, acked_partition=None, placed_seq=0)
    assert figures(audited(empty, [], None)) == (0, 0, 0)


def test_no_report_is_never_complete() -> None:
    found = audited(None, [(0, 100)], 501)
    assert figures(found) == (None, 0, None)
    assert not Audit([found], {}, {}).complete
    assert "unknown" in "\n".join(audit_table(Audit([found], {}, {})))


def test_a_session_cut_off_by_a_restart_has_an_unknown_tail() -> None:
    found = audited(RUNNING, [(0, 100)], 501, successor=replace(RUNNING, boot_id="boot-2"))
    assert found.unaccounted is None
    assert "the host restarted" in found.note
    assert "producer was replaced" in audited(RUNNING, [(0, 100)], 501, successor=RUNNING).note
    assert audited(ENDED, [(0, 100)], 501, successor=RUNNING).unaccounted == 0


def test_the_table_names_what_is_wrong() -> None:
    operations = [
        {"op": "read", "emitted": 9, "lost": 2, "lost_by_stage": {"ring_full": 2}},
        {"op": "write", "emitted": 9, "lost": 6, "lost_by_stage": {"ring_full": 5, "storage": 1}},
        {"op": "open", "emitted": 9, "lost": 0, "lost_by_stage": {}},
    ]
    lost = {"ring_full": 7, "storage": 1, "oversize": 0}
    lossy = replace(ENDED, lost=lost, uncovered={"io_uring": 2}, operations=operations)
    text = "\n".join(
        audit_table(
            Audit(
                [audited(lossy, [(0, 50), (53, 100)], 501)], {"h": 3}, {"t[0]": 9}, {"t[1]": "bad deploy"}, 4
            )
        )
    )
    for words in (
        "ring_full 7 (read 2, write 5), storage 1 (write 1)",
        "io_uring 2",
        "50-52",
        "NOT complete: 3 events",
        "3 dead letters",
        "9 messages",
        "4 mess",
    ):
        assert words in text
    assert "oversize" not in text


def test_what_is_under_way_after_the_wait_is_no_proof() -> None:
    moving = Audit([audited(RUNNING, [(0, 90)], 501)], {}, {}, behind=3)
    assert (moving.complete, moving.settled) == (True, False)
    assert list(audit_table(moving))[-1] == "complete: unaccounted 0; 10 under way"
    assert list(audit_table(moving, settled_within=5))[-1] == (
        "NOT settled within 5 s: still 10 events under way and 3 messages not read; "
        "this account proves nothing yet"
    )
    arrived = Audit([audited(ENDED, [(0, 100)], 501)], {}, {}, behind=0)
    assert list(audit_table(arrived, settled_within=5))[-1] == "complete: unaccounted 0"


def test_two_machines_of_one_host_id_are_told_from_a_replaced_one() -> None:
    later = replace(RUNNING, boot_id="boot-2")
    found = audited(replace(RUNNING, beside=2), [(0, 90)], 501, later)
    assert "another machine runs as this host at the same time as this one, of boot boot-1" in found.note
    assert figures(found) == (100, 10, 0), "it lives, and its account is its own"
    assert "--host-id" in "\n".join(audit_table(Audit([found], {}, {})))
    upgraded = replace(RUNNING, first_boot_time=9)
    assert "was replaced" in audited(replace(RUNNING, boot_time=9), [(0, 90)], 501, upgraded).note
    beside = audited(replace(RUNNING, boot_time=10), [(0, 90)], 501, upgraded)
    assert "another producer of this machine" in beside.note
    assert figures(beside) == (100, 10, 0)
    cut_off = replace(later, time=NOW + timedelta(hours=1))
    assert audited(replace(RUNNING, beside=2), [(0, 90)], 501, cut_off).unaccounted is None, "it was one once"
    spooled = replace(RUNNING, beside=1)  # its last report came once the host was up again
    assert "restarted" in audited(spooled, [(0, 90)], 501, later).note


def test_what_a_full_spool_gave_up_is_lost_and_no_fault() -> None:
    gave_up = replace(ENDED, dropped="{[20,50)}")
    found = audited(gave_up, [(0, 22), (50, 100)], 501)
    assert (figures(found), found.lost, found.dropped) == ((100, 0, 0), {"spool": 28}, ((22, 50),))
    undeclared = audited(ENDED, [(0, 22), (50, 100)], 501)
    assert (figures(undeclared), undeclared.lost) == ((100, 0, 28), {})
    beside_it = audited(gave_up, [(0, 20), (60, 100)], 501)
    assert (figures(beside_it), beside_it.holes) == ((100, 0, 10), ((50, 60),))


def test_what_is_declared_before_the_rest_has_come_is_not_in_flight() -> None:
    found = audited(replace(RUNNING, dropped="{[20,50)}", acked_seq=60), [(0, 10)], 300)
    assert (figures(found), found.lost) == ((100, 60, 0), {"spool": 30})


def test_the_table_names_what_a_full_spool_gave_up() -> None:
    found = audited(replace(ENDED, dropped="{[20,50)}", lost={"ring_full": 3}), [(0, 20), (50, 100)], 501)
    text = "\n".join(audit_table(Audit([found], {}, {})))
    assert "lost before the ring: ring_full 3\n" in text
    assert "lost at the full spool, its oldest events: 20-49\n" in text
    assert "complete: unaccounted 0" in text


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sets(st.integers(0, 60)),
    st.sets(st.integers(0, 90)),
    st.booleans(),
    st.sampled_from([None, 1, 600]),
)
def test_the_sum_always_holds(
    emitted: int,
    acked: int,
    placed: int,
    seen: set[int],
    dropped: set[int],
    ended: bool,
    next_offset: int | None,
) -> None:
    declared = Ranges.of((seq, seq + 1) for seq in dropped).text()
    acked = min(acked, emitted)
    report = replace(
        ENDED if ended else RUNNING,
        emitted=emitted,
        acked_seq=acked,
        placed_seq=min(placed, acked),
        dropped=declared,
    )
    found = audited(report, [(seq, seq + 1) for seq in seen], next_offset)
    assert found.captured is not None
    assert found.unaccounted is not None
    assert found.in_flight >= 0
    assert found.unaccounted >= 0
    lost = found.lost.get("spool", 0)
    assert lost == len({seq for seq in dropped if seq < found.captured} - seen)
    assert found.captured == found.stored + lost + found.in_flight + found.unaccounted
    assert sum(stop - start for start, stop in found.holes) == found.unaccounted
