"""The virtual machine itself: whose files the guest sees, what comes back, and how a broken guest ends."""

import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsmon_schemas.errors import ConfigError
from local.places import ROOT

from vm.kernel import kernel
from vm.machine import Machine, MachineError

pytestmark = pytest.mark.kernel

Boot = Callable[..., tuple[int, str, str]]


@pytest.fixture
def state(request: pytest.FixtureRequest, state_dir: Path) -> Path:
    name: str = request.node.name
    return state_dir / "vm" / name


@pytest.fixture
def boot(state: Path) -> Boot:
    """Run a shell's text in a guest; gives its status, output and errors."""

    def run(script: str, series: str = "6.1", seconds: int = 300, **settings: Any) -> tuple[int, str, str]:
        machine = Machine(kernel(series), state, directory=ROOT, **settings)
        out, err = io.BytesIO(), io.BytesIO()
        status = machine.run(["bash", "-c", script], out=out, err=err, seconds=seconds)
        return status, out.getvalue().decode(), err.getvalue().decode()

    return run


def test_a_guest_has_this_tree_and_changes_none_of_it(boot: Boot, state: Path) -> None:
    mark = f"written-by-the-guest-{state.name}"
    with tempfile.NamedTemporaryFile(dir="/tmp") as of_the_host:
        status, out, err = boot(
            f"""
            uname -r; pwd; cat tests/vm/init | md5sum
            touch {mark} && ls {mark}
            stat -f -c %T / /tmp /sys/fs/bpf /sys/kernel/security /sys/kernel/debug /sys/kernel/tracing
            touch /tmp/x && ls /tmp/x {of_the_host.name}
            cat /sys/kernel/debug/sched/preempt
            grep -o bpf /sys/kernel/security/lsm
            modprobe ext4 && echo has-modules
            echo kept > /run/vm/brought-back
            echo to-stderr >&2
            exit 42
            """,
            preempt="full",
        )
    release, directory, digest, *rest = out.splitlines()
    assert status == 42
    assert err.splitlines() == [
        f"ls: cannot access '{of_the_host.name}': No such file or directory",
        "to-stderr",
    ]
    assert (release, directory) == (kernel("6.1").release, str(ROOT))
    assert digest.split()[0] == hashlib.md5((ROOT / "tests/vm/init").read_bytes()).hexdigest()
    systems = ["overlayfs", "tmpfs", "bpf_fs", "securityfs", "debugfs", "tracefs"]
    assert rest == [mark, *systems, "/tmp/x", "none voluntary (full) ", "bpf", "has-modules"]
    assert not (ROOT / mark).exists()
    assert (state / "brought-back").read_text() == "kept\n"


def test_where_bpf_is_no_active_lsm_auto_takes_fentry(boot: Boot, state: Path) -> None:
    """And says so, and why."""
    status, out, err = boot(
        """
        cat /sys/kernel/security/lsm
        mkdir /tmp/watched
        .venv/bin/fsmon-producer run --watch /tmp/watched --output=- --backend auto \
            > /run/vm/events 2> /run/vm/log &
        until grep -q "capturing on" /run/vm/log; do kill -0 $! || exit 2; sleep 0.5; done
        echo one > /tmp/watched/file
        kill -INT $!; wait $!
        """,
        series="6.12",
        append="lsm=lockdown,yama",
    )
    log = (state / "log").read_text() if (state / "log").exists() else ""
    assert status == 0, out + err + log
    assert "bpf" not in out
    obstacle = "BPF is not among the active LSMs (/sys/kernel/security/lsm): boot with lsm=…,bpf"
    warning = "a preemptible kernel SKIPS programs of fentry now and then: counted as lost, recursion"
    told = [line for line in log.splitlines() if " INFO backend fentry (" in line]
    assert told
    assert all(f"fentry (lsm: {obstacle}; " in line and f"; {warning})" in line for line in told)
    events = [json.loads(line) for line in (state / "events").read_text().splitlines()]
    assert [(event["op"], event["path"], event["hook"]) for event in events] == [
        ("create", "/tmp/watched/file", "file_open"),
        ("write", "/tmp/watched/file", "file_permission"),
    ]


def test_an_oops_ends_the_run_and_is_shown(boot: Boot) -> None:
    with pytest.raises(MachineError, match=r"(?s)stopped without a status.*Kernel panic.*sysrq"):
        boot("echo c > /proc/sysrq-trigger; sleep 60")


def test_a_guest_that_hangs_is_ended(boot: Boot) -> None:
    with pytest.raises(MachineError, match="did not end within 10 s"):
        boot("sleep 600", seconds=10)


def test_an_unknown_kernel_or_mode_is_refused(state: Path) -> None:
    with pytest.raises(ConfigError, match=r"5\.4.*6\.1, 6\.12"):
        kernel("5.4")
    with pytest.raises(ConfigError, match="voluntary or full"):
        Machine(kernel("6.1"), state, preempt="maybe")
