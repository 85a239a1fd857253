"""Every program loads on each kernel, and none outgrows what was agreed to.

Of what loads anyway: fentry's are seen to by test_hooks, resolve's by test_resolve.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from fsmon_producer.preflight import bpf_lsm_is_active

from . import verifier
from .conftest import Watch

pytestmark = pytest.mark.kernel

LIMIT = 1_000_000  # the kernel's own: BPF_COMPLEXITY_LIMIT_INSNS, include/linux/bpf.h


@pytest.mark.vm_once
def test_no_program_grows_by_more_than_a_quarter(tmp_path: Path, watching: Callable[..., Watch]) -> None:
    capture = watching(tmp_path).capture
    assert verifier.outgrown(capture.backend, verifier.figures(capture)) == {}


@pytest.mark.skipif(bpf_lsm_is_active(), reason="it runs, and is in the other test")
def test_nor_does_one_of_lsm_where_it_cannot_run() -> None:
    assert verifier.outgrown("lsm", verifier.figures_of_lsm()) == {}


def test_the_record_is_of_all_kernels() -> None:
    record = verifier.recorded()
    assert {series: set(backends) for series, backends in record.items()} == {
        "6.1": {"lsm", "fentry", "resolve"},
        "6.12": {"lsm", "fentry", "resolve"},
        "6.18": {"lsm", "tracepoint", "resolve"},
    }
    for backends in record.values():
        for programs in backends.values():
            assert {"on_sys_exit", "body_finish"} <= programs.keys()
            assert all(0 < instructions < LIMIT for instructions in programs.values())
