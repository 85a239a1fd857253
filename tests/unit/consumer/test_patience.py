"""What is away is asked for less and less often, never in step, and for no longer than the worker lives."""

import threading

import pytest
from fsmon_consumer.patience import Patience, StoppedError
from fsmon_schemas import FatalError, RetryableError


class Clock(threading.Event):
    """Remembers the waits instead of waiting; set after ``last`` of them."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._last = last

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0)
        return len(self.waits) == self._last


def refuse() -> None:
    raise RetryableError("away")


def test_waits_grow_to_half_a_minute_with_jitter(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[RetryableError] = []
    clock = Clock(20)
    with pytest.raises(StoppedError):
        Patience(clock, heard.append).wait_for("PostgreSQL", refuse)
    for wait, middle in zip(clock.waits, [0.2 * 2**n for n in range(20)], strict=True):
        assert 0.5 * min(middle, 30) <= wait <= 1.5 * min(middle, 30)
    assert len({wait / 30 for wait in clock.waits[-10:]}) == 10
    assert len(heard) == 20
    assert caplog.text.count("waiting for PostgreSQL") == 1


def test_a_success_ends_it_and_what_waiting_cannot_mend_passes() -> None:
    tries = iter([RetryableError("a"), RetryableError("b")])

    def third_time() -> str:
        for error in tries:
            raise error
        return "there"

    assert Patience(Clock(9), lambda _: None).wait_for("it", third_time) == "there"

    def wrong() -> None:
        raise FatalError("wrong")

    clock = Clock(9)
    with pytest.raises(FatalError):
        Patience(clock, lambda _: None).wait_for("it", wrong)
    assert clock.waits == []
