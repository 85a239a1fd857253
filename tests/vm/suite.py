"""The kernel tests marked ``vm``, run by the guest's own pytest: one boot a kernel and preemption mode."""

import os
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import static_programs
from local.places import LOCAL, ROOT

from vm import scale
from vm.kernel import kernel
from vm.machine import Machine

STATE = LOCAL / "vm"
# Two guests at a time on two cores take 5 to 10 minutes each; a hang is found all the same.
TIMEOUT_SECONDS = 1500
SCALE = "20"
# What preemption is nothing to runs in one of the modes.
MARKS = {"voluntary": "vm", "full": "vm or vm_once"}


@dataclass(frozen=True)
class Outcome:
    """How one run ended; ``state`` has the junit file, the console and what else the guest left."""

    series: str
    preempt: str
    status: int  # pytest's: 0 all passed, 1 some failed, 5 none found
    state: Path
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Tests, failures, errors and skipped, from the junit file; all 0 if pytest did not get that far."""
        names = ("tests", "failures", "errors", "skipped")
        suites = list(self._report.iter("testsuite"))
        return {name: sum(int(suite.get(name, 0)) for suite in suites) for name in names}

    @property
    def skipped(self) -> list[str]:
        """The tests that were skipped, and why."""
        return [
            f"{case.get('classname')}::{case.get('name')}: {skip.get('message')}"
            for case in self._report.iter("testcase")
            for skip in case.iter("skipped")
        ]

    @property
    def passed(self) -> bool:
        """Whether all tests passed: the marks say what a guest runs, so there is nothing to skip in it."""
        return self.status == 0 and not self.skipped

    @property
    def _report(self) -> ET.Element:
        report = self.state / "junit.xml"
        return ET.parse(report).getroot() if report.exists() else ET.Element("testsuites")

    def __str__(self) -> str:
        figures = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        verdict = "passed" if self.passed else f"FAILED (status {self.status})"
        told = f"Linux {self.series} preempt={self.preempt}: {verdict}, {figures}, {self.seconds:.0f} s"
        return "\n".join([told, *(f"skipped {test}" for test in self.skipped)])


def run(series: str, preempt: str, expression: str, *, out: IO[bytes], err: IO[bytes]) -> Outcome:
    """Boot and run the tests that match pytest's ``-k expression`` (all if it is empty)."""
    static_programs.build_all()
    state = STATE / f"{series}-{preempt}-{os.getpid()}"
    start = time.monotonic()
    machine = Machine(
        kernel(series),
        state,
        preempt=preempt,
        directory=ROOT,
        environment={scale.VARIABLE: os.environ.get(scale.VARIABLE, SCALE)},
    )
    command = [
        str(ROOT / ".venv/bin/python"),
        # Plugins that nobody here uses cost seconds of import under emulation.
        *("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio"),
        *("-m", MARKS[preempt], "--junit-xml=/run/vm/junit.xml", "--durations=5", "tests/kernel"),
        *(["-k", expression] if expression else []),
    ]
    status = machine.run(command, out=out, err=err, seconds=TIMEOUT_SECONDS)
    return Outcome(series, preempt, status, state, time.monotonic() - start)
