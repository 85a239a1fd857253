"""What each kernel lets hooks do, and the same programs by fentry."""

import platform
import subprocess
from collections import Counter
from collections.abc import Callable

import pytest
from fsmon_bpf.backends import FENTRY, LSM, Backend
from fsmon_bpf.btf import Btf
from fsmon_producer import hook_check, hook_matrix, preflight
from fsmon_producer.hook_probe import Answer
from fsmon_schemas import FatalError

from . import verifier
from .conftest import Ground, Programs, Watch
from .operations import lay_out, run_driver
from .test_exactness import outcomes

pytestmark = pytest.mark.kernel

WRITES = 40_000
_SINCE_6_8 = (
    "path_unlink", "path_rmdir", "path_mkdir", "path_symlink", "path_link", "path_rename", "path_truncate",
    "path_chmod", "path_chown",
)  # fmt: skip
# Debian's kernels; sleepable_lsm_hooks in kernel/bpf/bpf_lsm.c.
_D_PATH = {"6.1": {"file_open", "mmap_file", "file_ioctl", "bprm_check_security", "sb_mount"}}
_D_PATH["6.12"] = {*_D_PATH["6.1"], *_SINCE_6_8}
_MISSING = {
    "6.1": {"file_truncate", "inode_file_setattr", "inode_set_acl", "inode_remove_acl"},
    "6.12": {"inode_file_setattr"},
}
# btf_allowlist_d_path in kernel/trace/bpf_trace.c names these functions
_D_PATH_BY_FENTRY = {"file_open", "file_permission", "path_truncate"}


def series() -> str:
    return ".".join(platform.release().split(".")[:2])


def answers(backend: Backend) -> dict[str, Answer]:
    return {hook.name: answer for hook, answer in hook_matrix.answers(backend, Btf.of_kernel()).items()}


@pytest.mark.vm_once
@pytest.mark.parametrize("backend", [LSM, FENTRY], ids=["lsm", "fentry"])
def test_what_the_kernel_lets_each_hook_do(backend: Backend) -> None:
    """Asked, and not told by the version; what is refused has the kernel's reason."""
    found = answers(backend)
    assert set(found) == {hook.name for hook in backend.hooks}
    assert all(answer.reason for answer in found.values() if answer.there and not answer.loads)
    if series() in _MISSING:
        assert {name for name, answer in found.items() if not answer.there} == _MISSING[series()]
        assert all(answer.loads for answer in found.values() if answer.there)
        d_path = _D_PATH[series()] if backend is LSM else _D_PATH_BY_FENTRY
        assert {name for name, answer in found.items() if answer.d_path} == d_path


@pytest.mark.vm_once
def test_check_shows_it() -> None:
    lines, able = hook_check.report()
    taken = preflight.choose_backend("auto", Btf.of_kernel())
    assert able
    assert lines[0].startswith(f"backend auto takes: {taken.name} (")
    (start,) = (at for at, line in enumerate(lines) if line.startswith("hook "))
    obstacles = [(each.name, preflight.obstacle(each, Btf.of_kernel())) for each in (LSM, FENTRY)]
    assert lines[1:start] == [f"{name} captures nothing here: {why}" for name, why in obstacles if why]
    assert lines[start].split() == ["hook", "lsm", "fentry"]
    told = {line.split()[0]: line.split()[1] for line in lines[start + 1 :]}
    assert told == {hook: str(answer).split()[0] for hook, answer in answers(LSM).items()}
    if taken is LSM:
        assert set(told.values()) == {"d_path", "walk", "missing"}


@pytest.fixture(scope="module")
def by_fentry(tmp_path_factory: pytest.TempPathFactory, watching: Callable[..., Watch]) -> Ground:
    """A load for all tests here; where the hooks take no program it must be refused."""
    root = tmp_path_factory.mktemp("fentry")
    if any(answer.loads for answer in answers(FENTRY).values()):
        return Ground(root, watching(root, backend="fentry"))
    with pytest.raises(FatalError, match="this kernel refuses its programs"):
        watching(root, backend="fentry")
    pytest.skip("fentry is refused on this machine: in the guests")


@pytest.mark.vm_once
def test_no_program_of_fentry_grows_by_more_than_a_quarter(by_fentry: Ground) -> None:
    assert verifier.outgrown("fentry", verifier.figures(by_fentry.watch.capture)) == {}


@pytest.mark.vm_once
def test_fentry_captures_or_counts(by_fentry: Ground, programs: Programs) -> None:
    """A preemptible kernel skips programs: what is missing is within lost.recursion."""
    root, watch = by_fentry.root, by_fentry.watch
    lay_out(root / "all", programs.noop)
    watch.bodies()
    emitted, lost = outcomes(watch)
    _, expected = run_driver(programs.driver, "absolute", root / "all", root / "all")
    captured = Counter(event["op"] for event in watch.events())
    done = Counter(event[1] for event in expected.elements())
    assert captured.total() + (outcomes(watch)[1] - lost).total() >= done.total()
    assert captured - done == Counter()
    command = [str(programs.storm), str(root), str(WRITES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as storm:
        watch.bodies_until(storm)
    emitted_after, lost_after = outcomes(watch)
    written = emitted_after["write"] - emitted.get("write", 0) - captured["write"]
    assert written <= WRITES
    assert written + (lost_after - lost).total() >= WRITES
