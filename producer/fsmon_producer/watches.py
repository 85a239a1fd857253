"""What is watched: names, the inodes they stand for, and the kernel's map of those.

Changes are made while the programs run: a key is added or taken away, and what the kernel remembers of
files below is void from then on. Works on the bcc.BPF that the loader made, by the thread that owns it.
"""

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsmon_schemas.errors import ConfigError, FatalError

from fsmon_producer.marker import Inode, Marker
from fsmon_producer.names import Name, Names, rule_id
from fsmon_producer.settings import Settings

_INCLUDE, _EXCLUDE = 1, 2  # enum in filter.h
_ADOPTED = 16384  # of BPF_HASH(adopted) in named.h
_CAPACITY = 65536 - _ADOPTED  # of BPF_HASH(watches) in filter.h, which the kernel fills as well
# Inodes that bore a name before stay watched, as a rotated log that is still written to: so many of them.
_FORMER = 16
_INHERITED = 4096  # of those that only the producer before us knew


_NOTHING = Inode(0, 0, 0)


@dataclass(frozen=True)
class Watched:
    """A name that is watched, or excluded; ``inode`` is what it stood for when last looked at."""

    path: Path
    exclude: bool
    inode: Inode
    stands: bool  # whether something of that name is there


@dataclass
class _Rule:
    exclude: bool
    inodes: deque[Inode]  # the newest is the last
    name: Name | None = None  # where the kernel looks out for other files that are given it
    folder: tuple[int, int] | None = None  # the one that the path names, by stat: another one is another name

    def stands_for(self, inode: Inode) -> bool:
        """Note what the name stands for now; whether that is another file than before."""
        if self.inodes and self.inodes[-1] == inode:
            return False
        if inode in self.inodes:
            self.inodes.remove(inode)
        self.inodes.append(inode)
        return True


def _verdict(*, exclude: bool) -> int:
    return _EXCLUDE if exclude else _INCLUDE


def _folder_of(path: Path) -> tuple[int, int] | None:
    try:
        there = path.parent.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino


class Watches:
    """The only writer of the map of what is watched. Names are absolute paths."""

    def __init__(self, bpf: Any, settings: Settings, marker: Marker) -> None:
        self._table = bpf[b"watches"]
        self._names = Names(bpf)
        self._marker = marker
        self._settings = settings
        self._rules: dict[Path, _Rule] = {}
        self._inherited: dict[
            Inode, bool
        ] = {}  # inode -> excluded: of names only the producer before us knew
        self._replaced: set[Path] = set()  # by files that the kernel has begun to watch, and not told of yet

    def add(self, path: Path, *, exclude: bool) -> None:
        """Watch the file (or the directory and all below), or leave it out; in force on return.

        A name that is known already is looked at anew. ConfigError if nothing of that name is there.
        """
        inode = self._inode_of(path)
        rules = dict(self._rules)
        known = rules.pop(path, None)  # where two names have one inode, the rule given last decides
        rules[path] = _Rule(exclude, deque(known.inodes if known else (), _FORMER))
        rules[path].stands_for(inode)
        self._find_name(path, rules[path])
        self._enforce(rules)

    def remove(self, path: Path, *, exclude: bool) -> None:
        """Forget the name and every inode that bore it; ConfigError if there is no such rule."""
        known = self._rules.get(path)
        if known is None or known.exclude != exclude:
            raise ConfigError(f"{path} is not {'excluded' if exclude else 'watched'}: see the list")
        self._inherited = {}
        self._enforce({name: rule for name, rule in self._rules.items() if name != path})

    def replace(self, include: Iterable[Path], exclude: Iterable[Path]) -> tuple[list[Path], list[Path]]:
        """Watch these names and no others; what stays is not interrupted. Returns those added and removed.

        ConfigError if a new name is not there: nothing has changed then.
        """
        wanted = {**dict.fromkeys(exclude, True), **dict.fromkeys(include, False)}
        rules: dict[Path, _Rule] = {}
        for path, excluded in wanted.items():
            known = self._rules.get(path)
            rules[path] = (
                replace(known, exclude=excluded)
                if known
                else _Rule(excluded, deque([self._inode_of(path)], _FORMER))
            )
            self._find_name(path, rules[path])
        before = {(path, rule.exclude) for path, rule in self._rules.items()}
        after = set(wanted.items())
        self._inherited = {}
        self._enforce(rules)
        return sorted(path for path, _ in after - before), sorted(path for path, _ in before - after)

    def resume(self, include: Iterable[Path], exclude: Iterable[Path], *, forget: bool) -> None:
        """Watch these names in a map that another process filled; unless ``forget``, also what it watched.

        That is what bore one of the names before, as a rotated log that is still written to. A name that is
        not there any more is left to what the map says.
        """
        there = {self._inode(key): verdict.value for key, verdict in self._table.items()}
        wanted = {**dict.fromkeys(exclude, True), **dict.fromkeys(include, False)}
        rules = {path: _Rule(excluded, deque(maxlen=_FORMER)) for path, excluded in wanted.items()}
        adopted = self._take_adopted(rules)
        for path, rule in rules.items():
            if (inode := self._inode_there(path)) is not None:
                rule.stands_for(inode)
            self._find_name(path, rule)
        if not forget:
            kept = [inode for inode in there if inode not in adopted][:_INHERITED]
            self._inherited = {inode: there[inode] == _EXCLUDE for inode in kept}
        self._enforce(rules)

    def follow_names(self) -> list[Path]:
        """Watch what stands now where another file was named; returns the names of which that was so.

        Editors, package managers and log rotation replace files: a watch follows its inode, and the name
        is added again with its new one. Mostly the kernel has done so; what it does not see is a directory
        or a mount above that was replaced, and where a symbolic link leads now.
        """
        anew = bool(self._take_adopted(self._rules))
        for path, rule in self._rules.items():
            inode = self._inode_there(path)
            stands_for_another = inode is not None and rule.stands_for(inode)
            if stands_for_another:
                self._replaced.add(path)
            if stands_for_another or inode is None or rule.folder != _folder_of(path):
                anew |= self._find_name(path, rule)
            anew |= stands_for_another
        if anew:
            self._enforce(self._rules)
        changed = sorted(self._replaced & self._rules.keys())
        self._replaced.clear()
        return changed

    @property
    def names(self) -> frozenset[Path]:
        """Those that are watched."""
        return frozenset(path for path, rule in self._rules.items() if not rule.exclude)

    def list(self) -> list[Watched]:
        """Every rule, in the order of names."""
        return [
            Watched(path, rule.exclude, inode, self._inode_there(path) == inode)
            for path, rule in sorted(self._rules.items())
            for inode in [rule.inodes[-1] if rule.inodes else _NOTHING]
        ]

    def _enforce(self, rules: dict[Path, _Rule]) -> None:
        """Bring the map to what the rules say; no key that stays is ever missing from it."""
        count = len(self._wanted(rules))
        if count > _CAPACITY:
            raise ConfigError(f"{count} files to watch: the kernel's map holds {_CAPACITY}")
        # Of what is left out none: who may write there could hide a file by passing it through that name.
        names = {rule.name: rule_id(path) for path, rule in rules.items() if rule.name and not rule.exclude}
        self._names.enforce(names)
        there = {self._inode(key): verdict.value for key, verdict in self._table.items()}
        self._take_adopted(rules)  # after that look: what the kernel has added is not to be taken away
        wanted = self._wanted(rules)
        gone = there.keys() - wanted.keys()
        if (
            len(there) > _CAPACITY
        ):  # else what is watched by one rule less, and by another more, is so throughout
            self._forget(gone)
        for inode, excluded in wanted.items():
            verdict = _verdict(exclude=excluded)
            if there.get(inode) != verdict:
                self._table[self._key(inode)] = self._table.Leaf(verdict)
        if len(there) <= _CAPACITY:
            self._forget(gone)
        self._rules = rules
        self._settings.void_verdicts()

    def _forget(self, inodes: Iterable[Inode]) -> None:
        for inode in inodes:
            del self._table[self._key(inode)]

    def _wanted(self, rules: dict[Path, _Rule]) -> dict[Inode, bool]:
        wanted = dict(self._inherited)
        wanted.update((inode, rule.exclude) for rule in rules.values() for inode in rule.inodes)
        return wanted

    def _take_adopted(self, rules: dict[Path, _Rule]) -> set[Inode]:
        """Note what the kernel has begun to watch, which is returned.

        Also in the rules that are in force, should these not come to be.
        """
        adopted = self._names.adopted()
        for known in (self._rules, rules) if adopted else ():
            paths = {rule_id(path): path for path in known}
            for rule, inode in adopted:
                if rule in paths and known[paths[rule]].stands_for(inode):
                    self._replaced.add(paths[rule])
        return {inode for _, inode in adopted}

    def _find_name(self, path: Path, rule: _Rule) -> bool:
        """See which directory has the name, behind symbolic links; whether it is another than before."""
        rule.folder = _folder_of(path)
        real = Path(os.path.realpath(path))
        folder = self._inode_there(real.parent) if real.name else None
        name = Name(folder, os.fsencode(real.name)) if folder else rule.name
        changed, rule.name = name != rule.name, name
        return changed

    def _inode_there(self, path: Path) -> Inode | None:
        try:
            return self._inode_of(path)
        except ConfigError:
            return None

    def _inode_of(self, path: Path) -> Inode:
        """The kernel's name for the file: not from stat, whose numbers are used again at once."""
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"cannot watch {path}: {why}; give a path that exists") from error
        try:
            found = self._marker.name(fd)
        finally:
            os.close(fd)
        if found is None:
            raise FatalError(
                f"the kernel did not name the inode of {path}: the sys_exit program does not run, or this "
                "process is not in the host's pid namespace"
            )
        return found

    def _inode(self, key: Any) -> Inode:
        return Inode(key.ino, key.dev, key.generation)

    def _key(self, inode: Inode) -> Any:
        return self._table.Key(inode.ino, inode.dev, inode.generation)
