"""Names, depths, losses and system calls at the edge of what can be captured."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fsmon_producer.record import CURRENT

from .conftest import LONGEST_RECORD, Ground, Watch

pytestmark = [pytest.mark.kernel, pytest.mark.vm]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, watching: Callable[..., Watch]) -> Ground:
    root = tmp_path_factory.mktemp("edges")
    return Ground(root, watching(root))


def python(script: str, cwd: Path) -> None:
    subprocess.run(["/usr/bin/python3", "-ISc", script], cwd=cwd, check=True)


def test_deep_paths(watched: Ground) -> None:
    watched.watch.events()
    python("import os\nfor d in range(200): os.mkdir('d'); os.chdir('d')", watched.root)
    events = [event for event in watched.watch.events() if event["op"] == "mkdir"]
    assert len(events) == 200
    above = len(watched.root.parts) - 1
    for depth, event in enumerate(events, 1):
        # A walk goes 128 steps up; crossing from a mount to its mount point takes one, too.
        if event["path_source"] == "d_path":
            assert (event["path"], event["path_truncated"]) == (str(watched.root) + "/d" * depth, False)
        elif depth > 128:
            assert event["path_truncated"]
            assert (str(watched.root) + "/d" * depth).endswith("/" + event["path"])
            assert len(event["path"]) >= len("/d" * 120)
        elif above + depth < 120:
            assert not event["path_truncated"]
            assert event["path"] == str(watched.root) + "/d" * depth


def test_longest_paths(watched: Ground) -> None:
    watched.watch.events()
    name = "n" * 255
    python(f"import os\nfor d in range(20): os.mkdir({name!r}); os.chdir({name!r})", watched.root)
    events = [event for event in watched.watch.events() if event["op"] == "mkdir"]
    assert len(events) == 20
    for depth, event in enumerate(events, 1):
        full = str(watched.root) + f"/{name}" * depth
        assert event["path_truncated"] == (len(full) > 4095)
        if len(full) <= 4095:
            assert event["path"] == full
        else:
            assert full.endswith("/" + event["path"])
            assert len(event["path"]) >= 4095 - 256


def test_a_file_unlinked_while_open(watched: Ground) -> None:
    watched.watch.events()
    script = "fd = os.open('gone', os.O_CREAT | os.O_RDWR); os.unlink('gone'); os.write(fd, b'x')"
    python(f"import os; {script}", watched.root)
    python("open('real (deleted)', 'w').write('x')", watched.root)
    writes = {event["path"]: event["deleted"] for event in watched.watch.events() if event["op"] == "write"}
    assert writes == {str(watched.root / "gone"): True, str(watched.root / "real (deleted)"): False}


def test_tmpfile_is_created_and_linked(watched: Ground) -> None:
    watched.watch.events()
    script = (
        "fd = os.open('.', os.O_TMPFILE | os.O_RDWR); os.link(f'/proc/self/fd/{fd}', 'named', src_dir_fd=fd)"
    )
    python("import os; " + script, watched.root)
    events = watched.watch.events()
    assert [event["op"] for event in events] == ["create", "link"]
    assert events[0]["deleted"]
    assert events[1]["target_path"] == str(watched.root / "named")


def test_openat2_is_told_how_to_resolve(watched: Ground) -> None:
    """Each way that finds a file is one event under the file's own name; a refusal is about no file."""
    folder = watched.root / "resolve"
    python(
        "import os; os.makedirs('resolve/in'); open('resolve/f', 'w'); open('resolve/in/g', 'w'); "
        "os.symlink('f', 'resolve/link'); os.symlink('/f', 'resolve/absolute')",
        watched.root,
    )
    no_xdev, no_magiclinks, no_symlinks, beneath, in_root = 1, 2, 4, 8, 16
    eloop, exdev = -40, -18
    cases = [
        ("f", 0, no_xdev, "f"),
        ("link", 0, no_magiclinks, "f"),
        ("link", 0, no_symlinks, eloop),
        ("in/../f", 0, beneath, "f"),
        ("../outside", 0, beneath, exdev),
        ("/in/g", 0, in_root, "in/g"),
        ("../../../f", 0, in_root, "f"),
        ("absolute", 0, in_root, "f"),
        ("/in/made", os.O_CREAT | os.O_WRONLY, in_root, "in/made"),
        ("../escaped", os.O_CREAT | os.O_WRONLY, beneath, exdev),
        ("/proc/self/root/etc", 0, no_magiclinks, eloop),
    ]
    script = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
directory = os.open("resolve", os.O_PATH | os.O_DIRECTORY)
for name, flags, resolve, _ in eval(sys.argv[1]):
    how = struct.pack("QQQ", flags, 0o600 if flags else 0, resolve)
    result = libc.syscall(437, directory, name.encode(), how, len(how))
    print(result if result >= 0 else -ctypes.get_errno())
    if result >= 0: os.close(result)
"""
    watched.watch.events()
    command = ["/usr/bin/python3", "-ISc", script, repr(cases)]
    told = subprocess.run(command, cwd=watched.root, stdout=subprocess.PIPE, text=True, check=True).stdout
    results = [int(line) for line in told.splitlines()]
    assert [result for result in results if result < 0] == [c for *_, c in cases if isinstance(c, int)]
    expected = [
        ("create" if flags else "open", str(folder / found), result)
        for (_, flags, _, found), result in zip(cases, results, strict=True)
        if isinstance(found, str)
    ]
    events = [(event["op"], event["path"], event["result"]) for event in watched.watch.events()]
    assert events == expected


def test_what_is_stored_in_a_mapping_is_the_mmap_alone(watched: Ground) -> None:
    script = """
import mmap, os
fd = os.open("mapped", os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 8192)
with mmap.mmap(fd, 8192) as memory:
    memory[4096] = 7
    memory.flush()
"""
    watched.watch.events()
    python(script, watched.root)
    assert [event["op"] for event in watched.watch.events()] == ["create", "truncate", "mmap"]
    assert (watched.root / "mapped").read_bytes()[4096] == 7


def test_wall_and_boot_time(watched: Ground) -> None:
    watched.watch.events()
    watched.watch.capture.sync_clock()
    before = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    python("open('timed', 'w')", watched.root)
    after = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    (event,) = watched.watch.events()
    assert before[0] - 0.01 <= event["time"].timestamp() <= after[0] + 0.01
    assert before[1] <= event["boot_time"] / 1e9 <= after[1]


def test_two_threads_of_operations_are_told_apart(watched: Ground) -> None:
    """Notes are a task's own: concurrent renames and unlinks never borrow each other's names."""
    watched.watch.events()
    script = """
import os, threading
def work(n):
    for i in range(500):
        a, b = f't{n}-{i}', f't{n}-{i}-renamed'
        os.close(os.open(a, os.O_CREAT)); os.rename(a, b); os.unlink(b)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    python(script, watched.root)
    names = Counter((event["op"], event["path"]) for event in watched.watch.events())
    expected: Counter[tuple[str, str]] = Counter()
    for n in range(4):
        for i in range(500):
            path = str(watched.root / f"t{n}-{i}")
            expected.update([("create", path), ("rename", path), ("unlink", f"{path}-renamed")])
    assert names == expected


def test_names_of_any_bytes(watched: Ground) -> None:
    """Only records with a byte beyond ASCII are flagged; their raw bytes arrive whole."""
    watched.watch.events()
    names = [
        b"plain",
        "naïve-漢".encode(),
        b"broken-\xff\xfe",
        b"line\nbreak",
        b'quote"',
        b"\\back",
        b"m" * 255,
    ]
    for name in names:
        python(f"import os; os.close(os.open({name!r}, os.O_CREAT))", watched.root)
    batch = watched.watch.ring.read(100, LONGEST_RECORD)
    watched.watch.ring.release(batch.end)
    assert batch.special == [1, 2]
    raw = [CURRENT.decode_kernel(body)["path"] for body in batch.bodies]
    root = bytes(watched.root) + b"/"
    assert raw == [root + name for name in names]
    shown = [CURRENT.readable(CURRENT.decode_kernel(body)) for body in batch.bodies]
    assert [event["path_raw"] for event in shown] == [None, None, root + names[2], *[None] * 4]
    assert shown[1]["path"] == str(watched.root / "naïve-漢")
    assert shown[2]["path"] == str(watched.root) + "/broken-\\xff\\xfe"


def test_inodes_read_from_disk_on_the_way_are_not_taken_for_the_changed_ones(watched: Ground) -> None:
    """Reading an inode sets its change time, too: a look-up in cold caches names inodes of no interest."""
    cold = watched.root / "cold"
    deep = cold / "a/b/c/d/e/f"
    python("import os; os.makedirs('cold/a/b/c/d/e/f'); open('cold/a/b/c/d/e/f/file', 'w')", watched.root)
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    watched.watch.events()
    deepest = "cold/a/b/c/d/e/f"
    script = (
        f"os.mkdir('{deepest}/new'); os.rename('{deepest}/file', 'cold/a/moved'); os.chmod('cold/a/b', 0o700)"
    )
    python(f"import os; {script}; os.unlink('cold/a/moved'); os.rmdir('{deepest}/new')", watched.root)
    events = [(event["op"], event["path"], event["target_path"]) for event in watched.watch.events()]
    assert events == [
        ("mkdir", str(deep / "new"), None),
        ("rename", str(deep / "file"), str(cold / "a/moved")),
        ("chmod", str(cold / "a/b"), None),
        ("unlink", str(cold / "a/moved"), None),
        ("rmdir", str(deep / "new"), None),
    ]
