"""The kernel tests marked ``vm`` pass on each of Debian's kernels, under each preemption mode."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

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
    if not outcome.passed:
        pytest.fail(f"{outcome}\nthe guest's console and files are in {outcome.state}", pytrace=False)
    shutil.rmtree(outcome.state)


def test_a_test_that_is_skipped_fails_the_run(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("import pytest\ndef test_done(): pass\ndef test_left_out(): pytest.skip('not here')\n")
    command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={tmp_path}/junit.xml", str(file)]
    status = subprocess.run(command, cwd=tmp_path, check=False).returncode
    outcome = suite.Outcome("6.1", "full", status, tmp_path, 0)
    assert (outcome.status, outcome.counts["tests"], outcome.counts["skipped"]) == (0, 2, 1)
    assert not outcome.passed
    assert str(outcome).splitlines()[1:] == ["skipped test_it::test_left_out: not here"]
