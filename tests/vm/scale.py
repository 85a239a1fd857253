"""How much of a test's repetitions to do: under emulation a system call costs some 30 times as much."""

import os

VARIABLE = "FSMON_TEST_SCALE"


def scaled(count: int) -> int:
    """``count`` divided by the scale (1 unless the environment says otherwise), at least 1."""
    return max(1, count // int(os.environ.get(VARIABLE, "1")))
