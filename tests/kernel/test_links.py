"""Files of many names, all of them cached: which one a call means is told, or counted as not known."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import Watch

pytestmark = pytest.mark.kernel

LOOKED_AT = 96
_OPERATIONS = """
import os, sys
path, other = sys.argv[1:]
os.chmod(path, 0o600); os.chown(path, 1, 1); os.truncate(path, 1); os.utime(path)
os.setxattr(path, 'trusted.fsmon', b'x'); os.link(path, other); os.unlink(other); os.rename(path, other)
os.rename(other, path); os.unlink(path)
"""


@dataclass
class Links:
    """A file of which one name lies in the watched directory, and the capture."""

    root: Path
    watch: Watch

    def make(self, count: int, *, name: str = "") -> Path:
        """The watched name, the oldest or with ``name`` one like the others, of so many others."""
        file = self.root / "watched" / (name or "watched")
        file.write_text("text")
        for i in range(count):
            folder = self.root / f"other{i}"
            folder.mkdir(exist_ok=True)
            (folder / (name or f"name{i}")).hardlink_to(file)
        self.watch.events()
        return file

    def events(self, script: str, *arguments: Path | str) -> list[tuple[str, str, str | None]]:
        command = ["/usr/bin/python3", "-ISc", script, *map(str, arguments)]
        subprocess.run(command, check=True, cwd=self.root / "watched")
        return [(event["op"], event["path"], event["target_path"]) for event in self.watch.events()]

    def unresolved(self) -> int:
        return self.watch.capture.counters().uncovered.get("unresolved", 0)


@pytest.fixture(params=["disk", "tmpfs"])
def links(request: pytest.FixtureRequest, tmp_path: Path, watching: Callable[..., Watch]) -> Iterator[Links]:
    if request.param == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "fsmon-test", str(tmp_path)], check=True)
    try:
        (tmp_path / "watched").mkdir()
        yield Links(tmp_path, watching(tmp_path / "watched"))
    finally:
        if request.param == "tmpfs":
            subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def expected(file: str, other: str) -> list[tuple[str, str, str | None]]:
    one = [(op, file, None) for op in ("chmod", "chown", "truncate", "utimens", "setxattr")]
    two = [("link", file, other), ("unlink", other, None), ("rename", file, other), ("rename", other, file)]
    return [*one, *two, ("unlink", file, None)]


@pytest.mark.parametrize("name", ["", "same"])
def test_one_of_many_names(links: Links, name: str) -> None:
    file = links.make(19, name=name)
    other = file.with_name("another")
    assert links.events(_OPERATIONS, file, other) == expected(str(file), str(other))


def test_a_name_of_which_others_are_open(links: Links) -> None:
    """The directory decides: as the path says it, or where the path begins."""
    file = links.make(19, name="same")
    other = file.with_name("another")
    held = [os.open(links.root / f"other{i}/same", os.O_RDONLY) for i in range(19)]
    try:
        before = links.unresolved()
        assert links.events(_OPERATIONS, "same", "another") == expected(str(file), str(other))
        file.hardlink_to(links.root / "other0/same")
        by_descriptor = "import ctypes, os; fd = os.open('same', 0)"
        by_descriptor += "; assert not ctypes.CDLL(None).fchownat(fd, b'', 2, 2, 0x1000)"
        assert ("chown", str(file), None) in links.events(by_descriptor)
        links.watch.events()
        assert links.events("import os, sys; os.chmod(sys.argv[1], 0)", file) == [("chmod", str(file), None)]
        assert links.unresolved() == before
    finally:
        for fd in held:
            os.close(fd)


def test_a_name_that_cannot_be_told_is_counted(links: Links) -> None:
    """By a symbolic link in an unwatched place, while two of the names are open."""
    if links.watch.capture.hooks:
        pytest.skip("a hook is told the file's dentry")
    file = links.make(3, name="same")
    (links.root / "way").symlink_to("watched")
    held = os.open(links.root / "other0/same", os.O_RDONLY)
    try:
        before = links.unresolved()
        links.events("import os, sys; os.chmod(sys.argv[1], 0)", links.root / "way/same")
        assert links.unresolved() > before
    finally:
        os.close(held)
    before = links.unresolved()
    script = "import os, sys; os.chmod(sys.argv[1], 0o600)"
    assert links.events(script, links.root / "way/same") == [("chmod", str(file), None)]


def test_more_names_than_are_looked_at(links: Links) -> None:
    file = links.make(LOOKED_AT + 54)
    before = links.unresolved()
    events = links.events("import os, sys; os.chmod(sys.argv[1], 0)", file)
    assert events == [("chmod", str(file), None)] or links.unresolved() > before
