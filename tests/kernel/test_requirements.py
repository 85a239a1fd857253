"""What a host may lack: `run` and `check` say what, and what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

PRODUCER = Path(sys.executable).parent / "fsmon-producer"
# Capabilities to read what only root may, and none that load programs.
NOBODY = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=+dac_read_search"]
NOBODY += ["--ambient-caps=+dac_read_search", "--"]


def without(directory: str) -> list[str]:
    """A command's first words, for which that directory is empty."""
    return ["unshare", "--mount", "sh", "-euc", f'mount -t tmpfs tmpfs {directory}; exec "$@"', "sh"]


@pytest.mark.parametrize(
    ("first", "finding", "told"),
    [
        (NOBODY, "privileges: uid 65534", "needs root (or CAP_BPF"),
        (without("/sys/kernel/btf"), "BTF: /sys/kernel/btf/vmlinux is not readable", "CONFIG_DEBUG_INFO_BTF"),
        (without("/usr/lib/python3/dist-packages/bcc"), "BCC: ", "apt-get install python3-bpfcc"),
    ],
    ids=["root", "BTF", "BCC"],
)
def test_what_is_missing_is_said(first: list[str], finding: str, told: str, tmp_path: Path) -> None:
    kafka = ["--bootstrap-servers=127.0.0.1:9", f"--state-dir={tmp_path / 'state'}"]
    for more in (kafka, ["--output=-"]):
        run = subprocess.run(
            [*first, PRODUCER, "run", "--watch=/etc", *more],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (run.returncode, told in run.stderr, "Traceback" in run.stderr) == (1, True, False), run.stderr
    check = subprocess.run(
        [*first, PRODUCER, "check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (check.returncode, f"FAIL  {finding}" in check.stdout) == (1, True), check.stdout + check.stderr


def test_check_answers_for_the_backend_asked_for() -> None:
    unknown = subprocess.run(
        [PRODUCER, "check", "--backend=nosuch"], capture_output=True, text=True, check=False
    )
    assert (unknown.returncode, "should be one of auto, lsm" in unknown.stderr) == (2, True), unknown.stderr
    known = subprocess.run(
        [PRODUCER, "check", "--backend=tracepoint"], capture_output=True, text=True, check=False
    )
    assert "backend tracepoint takes: tracepoint (asked for)" in known.stdout, known.stdout + known.stderr
