"""Every program loads on each kernel, and none outgrows what was agreed to."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fsmon_producer.preflight import bpf_lsm_is_active

from . import verifier
from .conftest import Watch

pytestmark = pytest.mark.kernel

LIMIT = 1_000_000  # the kernel's own: BPF_COMPLEXITY_LIMIT_INSNS, include/linux/bpf.h
NEWEST = "6.18"  # whose figures hold for kernels that have none of their own


def must_not_have_grown(backend: str, found: verifier.Figures) -> None:
    """Where one should: `make verified` records what is so now, to be committed with the reason."""
    record = verifier.recorded()
    agreed = record.get(verifier.series(), record[NEWEST])[backend]
    assert found.keys() == agreed.keys()
    assert {name: (agreed[name], now) for name, now in found.items() if now > agreed[name] * 1.25} == {}


@pytest.mark.vm_once
def test_no_program_grows_by_more_than_a_quarter(tmp_path: Path, watching: Callable[..., Watch]) -> None:
    capture = watching(tmp_path).capture
    must_not_have_grown(capture.backend, verifier.figures(capture))


@pytest.mark.skipif(bpf_lsm_is_active(), reason="it runs, and is in the other test")
def test_nor_does_one_of_lsm_where_it_cannot_run() -> None:
    must_not_have_grown("lsm", verifier.figures_of_lsm())


def test_the_record_is_of_all_kernels() -> None:
    record = verifier.recorded()
    assert {series: set(backends) for series, backends in record.items()} == {
        "6.1": {"lsm"},
        "6.12": {"lsm"},
        "6.18": {"lsm", "tracepoint"},
    }
    for backends in record.values():
        for programs in backends.values():
            assert {"on_sys_exit", "body_finish"} <= programs.keys()
            assert all(0 < instructions < LIMIT for instructions in programs.values())
