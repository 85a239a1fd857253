"""Mutated input for parsers, and the time that each may take."""

import contextlib
import faulthandler
import os
import random
import signal
import time
from collections.abc import Callable, Iterator

from fsmon_schemas.errors import FsmonError
from local.places import ROOT

SECONDS = float(os.environ.get("FSMON_FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("FSMON_FUZZ_SEED", str(random.randrange(1 << 32))))
SLOWEST = 5.0  # for one input, on a busy machine
_STUCK = ROOT / ".local" / "fuzz-stuck"  # where a hang in C says which it is: pytest has taken stderr
ODD = [
    b"\x00",
    b"\xff" * 10,
    b"\x80" * 9 + b"\x01",
    b"[" * 5000,
    b'{"":' * 3000,
    b"'''",
    b"\xed\xa0\x80",
    b"9" * 400,
]


class HangError(BaseException):
    """Not for a parser to catch."""


def _hangs(*_: object) -> None:
    raise HangError(f"no answer within {SLOWEST} s")


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """What takes too long is HangError where Python runs; where only C does, the end of the run."""
    before = signal.signal(signal.SIGALRM, _hangs)
    signal.setitimer(signal.ITIMER_REAL, SLOWEST)
    descriptor = os.open(_STUCK, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    faulthandler.dump_traceback_later(2 * SLOWEST, exit=True, file=descriptor)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        os.close(descriptor)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def mutated(dice: random.Random, data: bytes) -> bytes:
    """Some bytes flipped, cut, doubled, moved or replaced by ones that parsers dislike."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << dice.randrange(8)
            case 1:
                del changed[at : at + dice.choice((1, 2, 8, 64))]
            case 2:
                changed[at:at] = dice.randbytes(dice.choice((1, 2, 8)))
            case 3:
                changed[at:at] = dice.choice(ODD)
            case 4:
                changed[at:at] = changed[: dice.randrange(len(changed) + 1)]
            case _:
                del changed[at:]
        del changed[100_000:]
    return bytes(changed)


def fuzz(
    seeds: list[bytes],
    parse: Callable[[bytes], object],
    allowed: tuple[type[BaseException], ...] = (FsmonError,),
) -> None:
    """``allowed``: what ``parse`` may raise."""
    print(f"FSMON_FUZZ_SEED={SEED}")
    dice = random.Random(SEED)
    end, tried = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        data = mutated(dice, dice.choice(seeds))
        try:
            with in_time(), contextlib.suppress(*allowed):
                parse(data)
        except BaseException:
            print(f"input {data!r}")
            raise
        tried += 1
    print(f"{tried} inputs")
    assert tried > SECONDS
