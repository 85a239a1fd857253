"""The probe tells programs that are called from those that are only loaded, and leaves nothing behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fsmon_bpf import avro_encoder
from fsmon_producer import probe_operations
from fsmon_producer.loader import CaptureSettings, load
from fsmon_producer.probe import Answer, probe, require
from fsmon_schemas import FatalError

from .conftest import Shared, Watch

pytestmark = pytest.mark.kernel


@pytest.mark.vm_once
def test_every_operation_answers_and_nothing_of_it_is_left(
    shared: Shared, watching: Callable[..., Watch], tmp_path: Path
) -> None:
    watching(tmp_path)
    answers = {answer.op: answer for answer in shared.answers}
    assert {"create", "write", "unlink", "rename", "setxattr", "exec"} <= answers.keys()
    assert [op for op, answer in answers.items() if answer.silent] == []
    assert {op for op, answer in answers.items() if answer.obstacle} <= {"clone", "setflags"}  # not of tmpfs
    assert shared.after_probe is not None
    counters, (position, seq) = shared.after_probe
    assert (dict(counters.emitted), seq) == ({}, 0)
    assert position > 0
    assert not any(any(figures.values()) for figures in counters.lost.values())


def test_programs_that_are_never_called() -> None:
    """Attached, and reporting nothing: as LSM programs where bpf is no active LSM."""
    with load(CaptureSettings(watch=(), ring_bytes=1 << 20)) as capture:
        capture.enable(frozenset())
        with pytest.raises(FatalError, match=f"backend {capture.backend} .*calls none of them"):
            require(probe(capture, {"write", "unlink"}), capture.backend)
        capture.enable(frozenset({"write"}))
        assert require(probe(capture, {"write", "unlink"}), capture.backend) == ["unlink"]
        assert capture.watched() == []


def test_what_cannot_be_done_is_no_fault_of_the_programs() -> None:
    obstacle = Answer("clone", (), "Operation not supported")
    assert require([obstacle], "lsm") == []
    assert not obstacle.silent


def test_each_operation_of_the_schema_can_be_probed() -> None:
    assert probe_operations.OPERATIONS.keys() == set(avro_encoder.enums()["Operation"]) - {"unknown"}
