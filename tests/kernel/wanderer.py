"""A process that makes random directories, mounts and namespaces, and opens files of random names in them."""

import ctypes
import os
import random
from collections.abc import Iterator
from contextlib import suppress

_libc = ctypes.CDLL(None, use_errno=True)
MS_BIND, MS_REC, MS_PRIVATE = 4096, 1 << 14, 1 << 18
MNT_DETACH = 2
CLONE_NEWNS = 0x00020000
DIRECTORIES = 40  # held open at a time
DEEPEST = 160  # levels, and 30 more: of what lies deeper than 256 a capture reports everything
ENDINGS = (b"", b" (deleted)", b"\n", "漢".encode(), b"\xff\xfe", b"\\", b'"')


def _succeeded(result: int) -> bool:
    """False where the kernel refused: a random step need not be possible."""
    return result == 0


def mount(source: bytes, target: bytes, kind: bytes, flags: int = 0, options: bytes = b"") -> bool:
    return _succeeded(_libc.mount(source, target, kind, ctypes.c_ulong(flags), options))


class Wanderer:
    """Starts in a directory and a mount namespace of its own; deterministic for a seed."""

    def __init__(self, seed: int, start: bytes) -> None:
        self._random = random.Random(seed)
        outside = os.open(start, os.O_PATH | os.O_DIRECTORY)
        if _libc.unshare(CLONE_NEWNS) or not mount(b"none", b"/", b"", MS_REC | MS_PRIVATE):
            raise OSError(ctypes.get_errno(), "no mount namespace of our own")
        # Through the first one files are reached in the mounts of the namespace that was left.
        self._directories = [outside, os.open(start, os.O_PATH | os.O_DIRECTORY)]
        self._depths = dict.fromkeys(self._directories, 0)
        self._is_jailed = False
        self.done: dict[str, int] = {}

    def files(self, count: int) -> Iterator[int]:
        """So many open files, one after the other, each in another place or under another name."""
        while count:
            self._step()
            fd = self._open()
            if fd is not None:
                yield fd
                os.close(fd)
                count -= 1

    def _step(self) -> None:
        steps = [self._descend, self._descend, self._rename]
        if not self._is_jailed:
            steps += [self._bind, self._tmpfs, self._overlay, self._detach]
            if self._random.random() < 0.002:
                steps = [self._jail]
        step = self._random.choice(steps)
        with suppress(OSError):
            if step():
                name = step.__name__
                self.done[name] = self.done.get(name, 0) + 1

    def _name(self) -> bytes:
        length = self._random.choice((1, 3, 8, 8, 20, 20, 60, 245))
        body = bytes(self._random.choice(b"abcdefghijklmnopqrstuvwxyz0123456789-_. ") for _ in range(length))
        name = body + self._random.choice(ENDINGS)
        return name if name not in (b".", b"..") else b"dots"

    def _somewhere(self) -> int:
        return self._random.choice([fd for fd in self._directories if self._depths[fd] < DEEPEST])

    def _keep(self, fd: int, depth: int) -> None:
        self._directories.append(fd)
        self._depths[fd] = depth
        if len(self._directories) > DIRECTORIES:
            os.close(self._directories.pop(self._random.randrange(1, DIRECTORIES)))

    def _fresh(self) -> tuple[int, bytes]:
        """A new directory: where it is, and its name there."""
        where, name = self._somewhere(), self._name()
        os.mkdir(name, dir_fd=where)
        return where, name

    def _enter(self, where: int, name: bytes) -> bool:
        self._keep(os.open(name, os.O_PATH | os.O_DIRECTORY, dir_fd=where), self._depths[where] + 1)
        return True

    def _descend(self) -> bool:
        where, name = self._fresh()
        self._enter(where, name)
        for _ in range(self._random.choice((0, 0, 1, 5, 30))):
            where, name = self._directories[-1], self._name()
            os.mkdir(name, dir_fd=where)
            self._enter(where, name)
        return True

    def _rename(self) -> bool:
        where, name = self._fresh()
        self._enter(where, name)
        to = self._somewhere()
        os.rename(name, self._name(), src_dir_fd=where, dst_dir_fd=to)
        self._depths[self._directories[-1]] = self._depths[to] + 1
        return True

    def _bind(self) -> bool:
        where, name = self._fresh()
        source = b"/proc/self/fd/%d" % self._somewhere()
        flags = MS_BIND | self._random.choice((0, MS_REC))
        return mount(source, b"/proc/self/fd/%d/%s" % (where, name), b"", flags) and self._enter(where, name)

    def _tmpfs(self) -> bool:
        """Once or more on the same place."""
        where, name = self._fresh()
        target = b"/proc/self/fd/%d/%s" % (where, name)
        mounted = [mount(b"tmpfs", target, b"tmpfs") for _ in range(self._random.choice((1, 1, 3)))]
        return all(mounted) and self._enter(where, name)

    def _overlay(self) -> bool:
        """Its layers on a tmpfs of their own: an upper layer cannot lie on every file system."""
        if not self._tmpfs():
            return False
        base = self._directories[-1]
        here = b"/proc/self/fd/%d" % base
        for layer in (b"l", b"u", b"w", b"m"):
            os.mkdir(layer, dir_fd=base)
        layers = b"lowerdir=%s/l,upperdir=%s/u,workdir=%s/w" % (here, here, here)
        return mount(b"overlay", here + b"/m", b"overlay", 0, layers) and self._enter(base, b"m")

    def _detach(self) -> bool:
        """A mount that is in no namespace any more, while a directory of it is open."""
        where, name = self._fresh()
        target = b"/proc/self/fd/%d/%s" % (where, name)
        if not mount(b"tmpfs", target, b"tmpfs"):
            return False
        self._enter(where, name)
        return _succeeded(_libc.umount2(target, MNT_DETACH))

    def _jail(self) -> bool:
        os.fchdir(self._somewhere())
        os.chroot(".")
        self._is_jailed = True
        return True

    def _open(self) -> int | None:
        where, name = self._somewhere(), self._name()
        try:
            fd = os.open(name, os.O_CREAT | os.O_RDWR, 0o600, dir_fd=where)
            if self._random.random() < 0.2:
                os.unlink(name, dir_fd=where)
        except OSError:
            return None
        return fd
