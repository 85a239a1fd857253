"""A schema that fails again and again is told apart from single bad messages."""

from datetime import UTC, datetime

import pytest
from fsmon_consumer.batch import Batch, Decoder, LogSlice
from fsmon_consumer.registry import WriterSchemas
from fsmon_consumer.streaks import Streaks
from fsmon_schemas import FILE_EVENT
from fsmon_schemas.framing import confluent_prefix, single_object_prefix
from simulated_host import SimulatedHost

FRAME = single_object_prefix(FILE_EVENT)
LATEST = datetime(2026, 12, 1, tzinfo=UTC)
STRANGE = confluent_prefix(9) + b"body"
NEWER = b"\xc3\x01" + b"12345678" + b"body"
SHORT = FRAME + b"\x0ehost"
PLACE = ("events", 3)


def good(count: int = 1) -> list[bytes]:
    return list(SimulatedHost("h", 77, FRAME, 1_795_000_000_000_000).messages(count))


def batch(values: list[bytes], start: int = 0, topic: str = "events") -> Batch:
    offsets = list(range(start, start + len(values)))
    piece = LogSlice(topic, 3, 1, [b"h"] * len(values), list(values), offsets)
    return Decoder("reports", WriterSchemas(None).find).decode([piece], LATEST)


@pytest.mark.parametrize(
    "bad", [STRANGE, NEWER, SHORT], ids=["unknown id", "unknown fingerprint", "bad body"]
)
@pytest.mark.parametrize("topic", ["events", "reports"])
def test_a_streak_pauses_from_its_first_message_on(bad: bytes, topic: str) -> None:
    before = [] if topic == "reports" else good(4)
    made = batch([*before, *[bad] * 10, *before], topic=topic)
    outlook = Streaks(10).look(made)
    assert outlook.too_long[0].index == len(before)
    assert [len(piece) for piece in outlook.before(made.slices)] == ([4] if before else [])
    [(place, why)] = outlook.reasons(made.slices).items()
    assert place == (topic, 3)
    assert "10 messages in a row of" in why
    assert "--registry" in why
    assert Streaks(11).look(made).too_long == {}


def test_single_bad_messages_stop_nothing() -> None:
    streaks = Streaks(3)
    for start in range(0, 300, 3):
        made = batch([SHORT, SHORT, *good()], start)
        outlook = streaks.look(made)
        assert outlook.too_long == {}
        streaks.keep(outlook, {PLACE})


def test_good_messages_of_other_schemas_between_them_do_not_hide_it() -> None:
    made = batch([value for each in good(8) for value in (each, STRANGE)])
    assert Streaks(8).look(made).too_long[0].index == 1
    framings = batch([b"no frame"] * 50)
    assert Streaks(8).look(framings).too_long == {}


def test_strays_of_one_schema_among_many_messages_stop_nothing() -> None:
    """A report now and then in the wrong topic: its schema fails every time, and is no deploy."""
    streaks = Streaks(10)
    for start in range(0, 4000, 20):
        made = batch([STRANGE, *good(19)], start)
        outlook = streaks.look(made)
        assert outlook.too_long == {}
        streaks.keep(outlook, {PLACE})
    assert Streaks(10).look(batch([each for _ in range(40) for each in (STRANGE, *good(19))])).too_long == {}
    thick = batch([each for _ in range(40) for each in (STRANGE, *good(6))])
    assert Streaks(10).look(thick).too_long[0].index == 0


def test_a_streak_goes_on_over_batches_only_where_they_were_stored() -> None:
    streaks = Streaks(5)
    first = batch([STRANGE] * 3)
    for _ in range(3):
        streaks.keep(streaks.look(first), ())
    streaks.keep(streaks.look(first), {PLACE})
    again = batch([*good(2), STRANGE, STRANGE], 3)
    for _ in range(2):
        assert streaks.look(again).too_long[0].index == 2
    streaks.keep(streaks.look(batch([*good(2)], 3)), {PLACE})
    assert streaks.look(again).too_long != {}, "messages of another schema prove nothing"
