"""``python -m kernel.verifier``: how many instructions the verifier walks for each program, as JSON.

``verified.json`` holds the figures that were agreed to; ``make verified`` writes it anew.
"""

import json
import platform
import sys
from pathlib import Path

from fsmon_bpf import source
from fsmon_bpf.backends import BACKENDS, LSM
from fsmon_bpf.btf import Btf
from fsmon_producer import preflight
from fsmon_producer.loader import CaptureSettings, load
from fsmon_producer.programs import Capture
from vm.verify import instructions, verdicts

RECORD = Path(__file__).with_name("verified.json")
NEWEST = "6.18"  # whose figures hold for kernels that have none of their own
GROWTH = 1.25
Figures = dict[str, int]  # program -> instructions


def series() -> str:
    """The running kernel's, as 6.12."""
    return ".".join(platform.release().split(".")[:2])


def recorded() -> dict[str, dict[str, Figures]]:
    """By series of kernels and by backend."""
    found = json.loads(RECORD.read_text())
    assert isinstance(found, dict)
    return found


def outgrown(backend: str, found: Figures) -> dict[str, tuple[int, int]]:
    """Programs that came, went or grew by more than a quarter: the figure agreed to, and what it is now.

    Where one should: `make verified` records it, to be committed with the reason.
    """
    record = recorded()
    agreed = record.get(series(), record[NEWEST])[backend]
    pairs = {name: (agreed.get(name, 0), found.get(name, 0)) for name in agreed.keys() | found.keys()}
    return {name: (was, now) for name, (was, now) in pairs.items() if not 0 < now <= was * GROWTH}


def figures(capture: Capture) -> Figures:
    """Of what runs."""
    return {name.decode(): instructions(function.fd) for name, function in capture._bpf.funcs.items()}


def figures_of_lsm() -> Figures:
    """Of the lsm backend where the machine takes no LSM programs: its hooks as raw tracepoints, which are
    given the same words, but not their types. Hooks that need these (for bpf_d_path) are left out.

    AssertionError where the verifier refuses one of the others.
    """
    text = source.program_text(LSM.text)
    flags = [flag.replace("lsm__", "hook__") for flag in LSM.flags(Btf.of_kernel(), 2)]
    found = {}
    for verdict in verdicts(text, ["-DRING_PAGES=16", *flags]):
        if verdict.name.startswith("hook__") and "invalid mem access 'scalar'" in verdict.refusal:
            continue
        assert not verdict.refusal, verdict
        found[verdict.name.replace("hook__", "lsm__")] = verdict.instructions
    return found


def main() -> int:
    btf, found = Btf.of_kernel(), {}
    for backend in BACKENDS.values():
        if not preflight.obstacle(backend, btf):
            with load(CaptureSettings(watch=(), backend=backend.name)) as capture:
                found[backend.name] = figures(capture)
    if not preflight.bpf_lsm_is_active():
        found[LSM.name] = figures_of_lsm()
    json.dump({series(): found}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
