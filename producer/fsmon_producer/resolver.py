"""Answers what backend ``resolve`` asks: which files path operations meant, and whether they are watched.

Paths are followed after the operation, in the root and mount namespace of its process: exact where a path
still leads to where it led. The verdict on what is found is the programs' own. What nothing can be said of
is counted.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsmon_bpf import avro_encoder

from fsmon_producer.marker import Inode, Marker
from fsmon_producer.question import Question
from fsmon_producer.record import CURRENT
from fsmon_producer.ring import Cursor, Ring
from fsmon_producer.watches import Watches

_OPERATIONS = tuple(avro_encoder.enums()["Operation"])
_RING_BYTES = 4 << 20  # questions in questions.h
_BATCH, _LONGEST = 1000, 1 << 20
_PATH = os.O_PATH | os.O_CLOEXEC
# openat2(2): paths, ".." and symbolic links stay below the root given, and lead through no magic link
_OPENAT2, _RESOLVE_IN_ROOT = 437, 0x10
_NS_A_TICK = 10_000_000  # USER_HZ is 100
_START_TIME = 19  # field 22 of /proc/PID/stat, counted from behind the command's name
_TYPES = {
    stat.S_IFIFO: "fifo", stat.S_IFCHR: "char", stat.S_IFDIR: "directory", stat.S_IFBLK: "block",
    stat.S_IFREG: "regular", stat.S_IFLNK: "symlink", stat.S_IFSOCK: "socket",
}  # fmt: skip
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class _Found:
    """Where a path leads: the file, if it is still there, else only its name."""

    path: bytes
    watched: bool
    device: int
    inode: Inode | None = None
    mode: int = 0


class Resolver:
    """Used by the thread that owns the capture. ``unresolved`` counts what nothing could be said of."""

    def __init__(self, ring_fd: int, marker: Marker) -> None:
        self._ring = Ring(ring_fd, _RING_BYTES, Cursor(0, 0))
        self._marker = marker
        self.unresolved = 0

    def serve(self, watches: Watches) -> None:
        """Answer what has been asked by now; a file that is gone is watched if a watch has its name."""
        if not self._ring.behind:
            return
        names = watches.names
        end = self._ring.cursor.position + self._ring.behind
        while self._ring.cursor.position < end:
            batch = self._ring.read(_BATCH, _LONGEST)  # none while a CPU writes the next one
            for body in batch.bodies:
                self._answer(Question.decode(body), names)
            self._ring.release(batch.end)

    def close(self) -> None:
        """What is still asked is counted."""
        while self._ring.behind:
            self.unresolved += len(self._ring.read(_BATCH, _LONGEST).bodies)
        self._ring.close()

    def _answer(self, question: Question, names: Collection[Path]) -> None:
        with ExitStack() as open_things:
            root = self._root_of(question)
            if root is not None:
                open_things.callback(os.close, root)
            first = self._follow(root, question.first, follows=question.follows, of_name=question.of_name)
            second = None
            if question.second is not None:
                second = self._follow(root, question.second, follows=False, of_name=True)
        found = [each for each in (first, second) if each is not None]
        complete = len(found) == (1 if question.second is None else 2)
        named = any(Path(os.fsdecode(each.path)) in names for each in found)
        if question.watched or any(each.watched for each in found) or (named and question.our_root):
            self._send(question, first, second)
        elif named or not complete:  # perhaps a watched one's name, and in another root perhaps not
            self.unresolved += 1

    def _send(self, question: Question, first: _Found | None, second: _Found | None) -> None:
        event = dict(question.event)
        file = second if event["op"] in ("rename", "exchange") else first  # it is there now
        event["path"] = first.path if first else question.first
        event["path_source"] = "resolved"
        if question.second is not None:
            event["target_path"] = second.path if second else question.second
        event["inode"] = file.inode.ino if file and file.inode else 0
        event["device"] = file.device if file else 0
        event["mode"] = stat.S_IMODE(file.mode) if file else 0
        event["file_type"] = _TYPES.get(stat.S_IFMT(file.mode), "unknown") if file else "unknown"
        if event["op"] == "rmdir":
            event["file_type"] = "directory"
        body = CURRENT.encode_kernel(CURRENT.readable(event))
        self._marker.send(_OPERATIONS.index(event["op"]), b"\0" + body)

    def _root_of(self, question: Question) -> int | None:
        """The process's root; once it is gone our own, if it had the same."""
        event = question.event
        try:
            root = os.open(f"/proc/{event['pid']}/root", _PATH)
        except OSError:
            root = None
        if root is not None:
            if _started(event["pid"]) == event["process_start"] // _NS_A_TICK:
                return root
            os.close(root)
        return os.open("/", _PATH) if question.our_root else None

    def _follow(self, root: int | None, path: bytes, *, follows: bool, of_name: bool) -> _Found | None:
        if root is None:
            return None
        if not of_name:
            with _opened(root, path, 0 if follows else os.O_NOFOLLOW) as fd:
                if fd is not None:
                    return self._found(root, fd)
        above, _, name = path.rstrip(b"/").rpartition(b"/")
        if name in (b"", b".", b".."):
            return None
        directory = self._directory(root, above)
        if directory is None:
            return None
        whole = directory.path.rstrip(b"/") + b"/" + name
        with _opened(root, path, os.O_NOFOLLOW) as fd:
            if fd is None:
                return _Found(whole, directory.watched, directory.device)
            file = self._found(root, fd)
            return _Found(whole, file.watched, file.device, file.inode, file.mode)

    def _directory(self, root: int, path: bytes) -> _Found | None:
        """The directory, or if it is gone the nearest above that is there, with the rest of the name."""
        rest: list[bytes] = []
        while True:
            with _opened(root, path or b"/", 0) as fd:
                if fd is not None:
                    above = self._found(root, fd)
                    whole = b"/".join([above.path.rstrip(b"/"), *rest]) or b"/"
                    return _Found(whole, above.watched, above.device)
            path, _, name = path.rpartition(b"/")
            if name in (b".", b"..") or (not path and not name):
                return None
            rest.insert(0, name)

    def _found(self, root: int, fd: int) -> _Found:
        watched, inode = self._marker.is_watched(fd), self._marker.name(fd)
        return _Found(_shown(root, fd), watched, inode.dev if inode else 0, inode, os.fstat(fd).st_mode)


@contextmanager
def _opened(root: int, path: bytes, flags: int) -> Iterator[int | None]:
    """A descriptor of the file that the path leads to in ``root``; None if it leads nowhere."""
    how = struct.pack("QQQ", _PATH | flags, 0, _RESOLVE_IN_ROOT)
    fd = int(_libc.syscall(_OPENAT2, root, path, how, len(how)))
    try:
        yield fd if fd >= 0 else None
    finally:
        if fd >= 0:
            os.close(fd)


def _shown(root: int, fd: int) -> bytes:
    """The file's path as it is seen from the root."""
    path, above = (bytes(Path(f"/proc/self/fd/{each}").readlink()) for each in (fd, root))
    if above != b"/" and path.startswith(above):
        path = path[len(above) :] or b"/"
    return path


def _started(pid: int) -> int | None:
    """When the process started, in clock ticks since boot."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[_START_TIME])
