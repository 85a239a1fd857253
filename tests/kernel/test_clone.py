"""FICLONE and FICLONERANGE on file systems whose files can share their blocks."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from .conftest import Ground, Watch

pytestmark = [pytest.mark.kernel, pytest.mark.vm_once]

COUNT = 23
BYTES = 65536
IMAGE_BYTES = 512 << 20  # sparse; mkfs.xfs makes none below 300 MB
IOCTL = 16
# FICLONE takes the descriptor to read, FICLONERANGE a struct file_clone_range: include/uapi/linux/fs.h.
WAYS = {
    "whole": "fcntl.ioctl(target, 0x40049409, source)",
    "range": "fcntl.ioctl(target, 0x4020940d, struct.pack('qQQQ', source, 4096, 8192, 4096))",
}
SCRIPT = """
import fcntl, os, struct
source = os.open("source", os.O_RDONLY)
for i in range({count}):
    target = os.open(f"{way}{{i}}", os.O_CREAT | os.O_WRONLY)
    {clone}
    os.close(target)
"""


@pytest.fixture(scope="module", params=["xfs", "btrfs"])
def ground(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, watching: Callable[..., Watch]
) -> Iterator[Ground]:
    image = tmp_path_factory.mktemp("image") / request.param
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    root = tmp_path_factory.mktemp(request.param)
    subprocess.run(["modprobe", "-qa", "loop", request.param], check=False)  # elsewhere they are built in
    subprocess.run([f"mkfs.{request.param}", "-q", str(image)], stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
    try:
        yield Ground(root, watching(root))
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


@pytest.mark.parametrize("way", WAYS)
def test_a_clone_reads_one_file_and_changes_another(ground: Ground, way: str) -> None:
    source, watch = ground.root / "source", ground.watch
    source.write_bytes(os.urandom(BYTES))
    os.sync()  # else a clone makes the loop device's thread write faster than can be noted (lost.overtaken)
    watch.events()
    lost = watch.capture.counters().lost
    script = SCRIPT.format(count=COUNT, way=way, clone=WAYS[way])
    subprocess.run(["/usr/bin/python3", "-ISc", script], cwd=ground.root, check=True)
    events = [event for event in watch.events() if event["op"] not in ("open", "create")]
    assert watch.capture.counters().lost == lost
    targets = [ground.root / f"{way}{i}" for i in range(COUNT)]
    assert [(event["op"], event["path"], event["result"]) for event in events] == [
        pair for target in targets for pair in (("read", str(source), 0), ("clone", str(target), 0))
    ]
    hook = "file_permission" if watch.capture.hooks else "sys_exit"
    for event in events:
        assert (event["hook"], event["syscall"], event["comm"]) == (hook, IOCTL, "python3")
        assert event["inode"] == (ground.root / event["path"]).stat().st_ino
        assert (event["file_type"], event["deleted"], event["path_truncated"]) == ("regular", False, False)
        for name in ("target_path", "open_flags", "offset", "length", "prot", "xattr_name"):
            assert event[name] is None
    cloned = source.read_bytes()
    if way == "range":
        cloned = bytes(4096) + cloned[4096:12288]
    assert all(target.read_bytes() == cloned for target in targets)
