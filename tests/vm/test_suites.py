"""The kernel tests marked ``vm`` pass on each of Debian's kernels, under each preemption mode."""

import io
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import static_programs

from vm import suite
from vm.kernel import METAPACKAGES, kernel
from vm.machine import PREEMPT_MODES

pytestmark = pytest.mark.kernel

Told = tuple[suite.Outcome, str]


def run(series: str, preempt: str) -> Told:
    output = io.BytesIO()
    outcome = suite.run(series, preempt, "", out=output, err=output)
    return outcome, output.getvalue().decode(errors="replace")


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[tuple[str, str], Future[Told]]]:
    """All of them, a guest a core: emulation keeps one busy."""
    static_programs.build_all()  # once, and not by two at a time; the kernels likewise
    for series in METAPACKAGES:
        kernel(series)
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        yield {
            (series, preempt): pool.submit(run, series, preempt)
            for preempt in reversed(PREEMPT_MODES)
            for series in METAPACKAGES
        }


@pytest.mark.parametrize("preempt", PREEMPT_MODES)
@pytest.mark.parametrize("series", METAPACKAGES)
def test_kernel_tests_pass_in_the_guest(
    runs: dict[tuple[str, str], Future[Told]], series: str, preempt: str
) -> None:
    outcome, told = runs[series, preempt].result()
    print(told)
    if outcome.status != 0:
        pytest.fail(f"{outcome}\nthe guest's console and files are in {outcome.state}", pytrace=False)
    assert outcome.counts["tests"] > 0
    shutil.rmtree(outcome.state)
