"""The kernel tests marked ``vm`` pass on each of Debian's kernels, under each preemption mode."""

import io
import shutil

import pytest

from vm import suite
from vm.kernel import METAPACKAGES
from vm.machine import PREEMPT_MODES

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("preempt", PREEMPT_MODES)
@pytest.mark.parametrize("series", METAPACKAGES)
def test_kernel_tests_pass_in_the_guest(series: str, preempt: str) -> None:
    output = io.BytesIO()
    try:
        outcome = suite.run(series, preempt, "", out=output, err=output)
    finally:
        told = output.getvalue().decode(errors="replace")
        print(told)
    if outcome.status != 0:
        pytest.fail(f"{outcome}\nthe guest's console and files are in {outcome.state}", pytrace=False)
    assert outcome.counts["tests"] > 0
    shutil.rmtree(outcome.state)
