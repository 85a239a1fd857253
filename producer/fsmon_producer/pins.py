"""Captures that outlive their process: programs, maps and ring pinned in a bpffs, a directory a session.

    generation            whose turn it is to report: a session
    handed_over           what its predecessor leaves to it while both are attached: see turn.h
    ignored               processes of which nothing is reported, by whatever is attached
    <session>/maps/…      every map, the ring among them
    <session>/programs/…
    <session>/links/…     while they are there, the programs are attached
    <session>/identity    an array of one value, JSON; pinned last: what lacks it is incomplete

What is pinned lives as long as the kernel: after a reboot there is nothing, and the session has ended.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fsmon_producer import bpf_syscall, bpffs
from fsmon_producer.identity import Session
from fsmon_producer.settings import Setting, Settings
from fsmon_producer.tables import Table

_IDENTITY_BYTES = 64 << 10
LINKS = ("raw_tracepoint", "lsm", "kfunc_entry")  # kinds, as BCC names what it holds of them


@dataclass(frozen=True)
class Identity:
    """What has to be known of a capture to go on with it, or to bring it to its end."""

    session: Session
    build: str  # what it was made of: programs, flags, operations
    backend: str
    ring_bytes: int
    topic: str
    reports_topic: str
    schema: str  # of the records in the ring
    operations: tuple[str, ...]  # what the indexes of the counters mean
    stages: tuple[str, ...]
    uncovered: Mapping[str, int]
    skipped_before: Mapping[str, int] = field(default_factory=dict)  # of counters.counted
    watch: tuple[str, ...] = field(default=())
    exclude: tuple[str, ...] = field(default=())
    partition: int | None = None  # where the session's events go, once that is known
    end_reason: str = "its programs were detached"

    def as_json(self) -> bytes:
        """Bytes for the map."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of_json(cls, data: bytes) -> "Identity":
        """What ``as_json`` gave, here or in a release that knew more of it or less.

        ValueError, KeyError, TypeError or AttributeError where it is not that.
        """
        try:
            stored: dict[str, Any] = json.loads(data)
        except RecursionError as error:
            raise ValueError("nested beyond reason") from error
        values = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        session = values["session"]
        values["session"] = Session(
            **{each.name: session[each.name] for each in fields(Session) if each.name in session}
        )
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


class Pinned:
    """One session's directory."""

    def __init__(self, directory: Path) -> None:
        """OSError where it is incomplete."""
        self._directory = directory
        self._value = bpf_syscall.pinned(directory / "identity")
        stored = bpf_syscall.lookup(self._value, bytes(4), _IDENTITY_BYTES)
        assert stored is not None
        self.identity = Identity.of_json(stored.rstrip(b"\0"))

    @property
    def attached(self) -> bool:
        """Whether its programs run, and were not about to be detached by one that was killed meanwhile."""
        return any((self._directory / "links").iterdir()) and self._get(Setting.OPS) != 0

    def bind(self, partition: int) -> None:
        """Remember where the session's events go, before the first is sent."""
        self._remember(replace(self.identity, partition=partition))

    def end_because(self, reason: str) -> None:
        """Remember why the session ends, for whoever brings it to its end."""
        self._remember(replace(self.identity, end_reason=reason))

    def _remember(self, identity: Identity) -> None:
        self.identity = identity
        bpf_syscall.update(self._value, bytes(4), self.identity.as_json().ljust(_IDENTITY_BYTES, b"\0"))

    def take_turn(self) -> None:
        """As of programs.Capture, for one that is not taken over."""
        self._set(Setting.GENERATION, self.identity.session.id)

    def objects(self) -> "PinnedObjects":
        """Everything, opened."""
        return PinnedObjects(self._directory)

    def unpin_links(self) -> None:
        """Detach, as far as no process holds them; what is in the ring stays."""
        # The kernel detaches one by one, and later: a hook that noted on meanwhile would count, as overtaken,
        # what no sys_exit ends any more.
        self._set(Setting.OPS, 0)
        links = self._directory / "links"
        # sys_exit first: without the others' notes it counts calls as unresolved.
        for link in sorted(links.iterdir(), key=lambda path: not path.name.endswith("sys_exit")):
            link.unlink()

    def _set(self, setting: Setting, value: int) -> None:
        objects = self.objects()
        Settings(objects).set(setting, value)
        objects.cleanup()

    def _get(self, setting: Setting) -> int:
        objects = self.objects()
        value = Settings(objects).get(setting)
        objects.cleanup()
        return value

    def remove(self) -> None:
        """Unpin all."""
        os.close(self._value)
        _remove(self._directory)


class Pins:
    """All sessions pinned below ``directory``, which is on a bpffs and ours alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._generation = directory / "generation"
        self._handed_over = directory / "handed_over"
        self._ignored = directory / "ignored"

    def ignore(self, pid: int, started: int) -> None:
        """Report nothing that this process does, whatever is attached; ``started`` in clock ticks."""
        with contextlib.suppress(FileNotFoundError):
            table = bpf_syscall.pinned(self._ignored)
            bpf_syscall.update(table, pid.to_bytes(4, "little"), started.to_bytes(8, "little"))
            os.close(table)

    def heed(self, pid: int) -> None:
        """Take ``ignore`` back."""
        with contextlib.suppress(FileNotFoundError):
            table = bpf_syscall.pinned(self._ignored)
            bpf_syscall.delete(table, pid.to_bytes(4, "little"))
            os.close(table)

    def sessions(self) -> list[Pinned]:
        """What is pinned, in the order of beginning; what a killed start left incomplete is removed."""
        found = []
        for directory in self._directories():
            try:
                found.append(Pinned(directory))
            except FileNotFoundError:
                _remove(directory)
        return sorted(found, key=lambda pinned: pinned.identity.session.started)

    def turn(self) -> int:
        """The session whose programs report; 0 for none."""
        try:
            table = bpf_syscall.pinned(self._generation)
        except FileNotFoundError:
            return 0
        value = bpf_syscall.lookup(table, bytes(4), 8)
        os.close(table)
        return int.from_bytes(value or b"", "little")

    def forget_handed_over(self) -> None:
        """Remove what the last change of turns left: before programs are attached that would heed it."""
        with contextlib.suppress(FileNotFoundError):
            table = bpf_syscall.pinned(self._handed_over)
            while (key := bpf_syscall.next_key(table, None, 8)) is not None:
                bpf_syscall.delete(table, key)
            os.close(table)

    def give_turn(self, session: int) -> None:
        """From here on this session's programs report, and no others."""
        table = bpf_syscall.pinned(self._generation)
        bpf_syscall.update(table, bytes(4), session.to_bytes(8, "little"))
        os.close(table)

    def keep(self, identity: Identity, descriptors: Mapping[str, int]) -> Pinned:
        """Pin what ``descriptors`` names by path, then the identity."""
        directory = self.directory / f"{identity.session.id:x}"
        directory.mkdir(mode=0o700)
        for name in ("maps", "programs", "links"):
            (directory / name).mkdir(mode=0o700)
        for path, descriptor in descriptors.items():
            bpf_syscall.pin(descriptor, directory / path)
        value = bpf_syscall.create_array(_IDENTITY_BYTES)
        bpf_syscall.update(value, bytes(4), identity.as_json().ljust(_IDENTITY_BYTES, b"\0"))
        bpf_syscall.pin(value, directory / "identity")
        os.close(value)
        return Pinned(directory)

    def clear(self) -> None:
        """Remove the last that is left, when no session is."""
        if not self._directories():
            self._generation.unlink(missing_ok=True)
            self._handed_over.unlink(missing_ok=True)
            self._ignored.unlink(missing_ok=True)
            bpffs.release(self.directory)

    def _directories(self) -> list[Path]:
        return [path for path in self.directory.iterdir() if path.is_dir()]


def _remove(directory: Path) -> None:
    (directory / "identity").unlink(missing_ok=True)  # first: what is half removed is incomplete
    for part in ("links", "programs", "maps"):
        with contextlib.suppress(FileNotFoundError):
            for pin in (directory / part).iterdir():
                pin.unlink()
            (directory / part).rmdir()
    directory.rmdir()


class PinnedObjects:
    """What programs.py asks of a bcc.BPF, of what is pinned: tables by name, ``funcs``, links by kind."""

    def __init__(self, directory: Path) -> None:
        self._maps = directory / "maps"
        self._tables: dict[bytes, Table] = {}
        self.funcs = {
            os.fsencode(path.name): SimpleNamespace(fd=bpf_syscall.pinned(path))
            for path in (directory / "programs").iterdir()
        }
        links: dict[str, dict[bytes, int]] = {kind: {} for kind in LINKS}
        for path in (directory / "links").iterdir():
            kind, name = path.name.split("-", 1)
            links[kind][os.fsencode(name)] = bpf_syscall.pinned(path)
        self.raw_tracepoint_fds, self.lsm_fds, self.kfunc_entry_fds = (links[kind] for kind in LINKS)

    def __getitem__(self, name: bytes) -> Table:
        if name not in self._tables:
            self._tables[name] = Table(self._maps / os.fsdecode(name))
        return self._tables[name]

    def detach_raw_tracepoint(self, tp: bytes) -> None:
        """Let go of a link."""
        os.close(self.raw_tracepoint_fds.pop(tp))

    def detach_lsm(self, name: bytes) -> None:
        """Let go of a link."""
        os.close(self.lsm_fds.pop(name))

    def detach_kfunc(self, name: bytes) -> None:
        """Let go of a link."""
        os.close(self.kfunc_entry_fds.pop(name))

    def cleanup(self) -> None:
        """Close everything; what is pinned stays."""
        links: list[dict[Any, int]] = [self.raw_tracepoint_fds, self.lsm_fds, self.kfunc_entry_fds]
        for fds in links:
            for descriptor in fds.values():
                os.close(descriptor)
            fds.clear()
        for program in self.funcs.values():
            os.close(program.fd)
        self.funcs.clear()
        for table in self._tables.values():
            os.close(table.map_fd)
        self._tables.clear()
