"""bpf_d_path and the walk name a file alike, in any directory, mount and namespace, and below any root."""

import ctypes
import fcntl
import os
import pickle
import random
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bcc import BPF
from fsmon_bpf import source
from fsmon_bpf.btf import Btf
from fsmon_bpf.layout import Layout
from fsmon_producer.preflight import bpf_lsm_is_active
from fsmon_producer.settings import Setting
from vm.scale import scaled

from .wanderer import Wanderer

pytestmark = [pytest.mark.kernel, pytest.mark.vm_once]

PATHS = 10_000
PATHS_A_PROCESS = 200
LONGEST_PATH = 4095
DELETED = b" (deleted)"


class Both:
    """The test program, and what it says of the file that was locked last."""

    def __init__(self) -> None:
        os.environ.setdefault("BCC_KERNEL_SOURCE", str(source.KERNEL_STUB))
        text = "\n".join(source._flatten(Path(__file__).parent / "paths.bpf.c"))
        flags = ["-I/usr/include", "-I/usr/include/x86_64-linux-gnu", "-Wno-everything", "-DCPUS=1"]
        self.bpf = BPF(text=text.encode(), cflags=[*flags, *Layout.of(Btf.of_kernel()).flags])
        self._both = self.bpf[b"both"]

    def follow(self, pid: int) -> None:
        self.bpf[b"settings"][ctypes.c_int(Setting.MARKER_PID)] = ctypes.c_uint64(pid)

    def of(self, fd: int) -> Any:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return self._both[ctypes.c_int(0)]


def disagreement(both: Any) -> str:
    """Why the two are not the same path; empty where they are."""
    walked = bytes(both.walk)[: both.walked]
    if both.size < 0:
        too_long = both.cut or (both.unlinked and len(walked) > LONGEST_PATH - len(DELETED))
        return "" if too_long else f"bpf_d_path gave {both.size} for {walked!r}"
    told = bytes(both.d_path)[: both.size - 1]
    if both.unlinked:
        if not told.endswith(DELETED):
            return f"{told!r} is unlinked"
        told = told.removesuffix(DELETED)
    agree = told.endswith(b"/" + walked) and told.count(b"/") > 120 if both.cut else told == walked
    return "" if agree else f"d_path {told!r}, walk {walked!r}, cut {both.cut}"


@dataclass
class Walked:
    """What came of one process's paths."""

    faults: list[str]
    compared: int  # those of which bpf_d_path gave one
    too_long: int
    steps: dict[str, int]


def wander(both: Both, seed: int, count: int, root: Path) -> Walked:
    """In a process of its own, which may lose its root, and leaves no mount behind."""
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            wanderer = Wanderer(seed, bytes(root))
            both.follow(os.getpid())
            walked = Walked([], 0, 0, wanderer.done)
            for fd in wanderer.files(count):
                seen = both.of(fd)
                walked.compared += seen.size > 0
                walked.too_long += seen.size < 0
                walked.faults += filter(None, [disagreement(seen)][: 5 - len(walked.faults)])
            os.write(tell, pickle.dumps(walked))
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(tell)
    with os.fdopen(told, "rb") as answer:
        found = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    walked = pickle.loads(found)
    assert isinstance(walked, Walked)
    return walked


@pytest.fixture
def both() -> Iterator[Both]:
    programs = Both()
    yield programs
    programs.bpf.cleanup()


@pytest.mark.skipif(not bpf_lsm_is_active(), reason="bpf_d_path is called from LSM hooks: in the guests")
def test_the_walk_says_what_d_path_says(both: Both, tmp_path: Path) -> None:
    wanted, seed = scaled(PATHS), random.randrange(1 << 32)
    print(f"seed {seed}")
    steps: Counter[str] = Counter()
    compared = too_long = 0
    while compared < wanted:
        walked = wander(both, seed + compared, min(PATHS_A_PROCESS, wanted - compared), tmp_path)
        assert walked.faults == []
        compared += walked.compared
        too_long += walked.too_long
        steps.update(walked.steps)
    print(f"{compared} paths agree, {too_long} were too long for bpf_d_path; steps {dict(steps)}")
    assert compared == wanted
    assert too_long > 0
    assert {"_bind", "_tmpfs", "_overlay", "_detach", "_rename"} <= steps.keys()
