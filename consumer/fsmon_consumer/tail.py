"""`fsmon-consumer tail`: the live topic on a terminal. No database, no group, nothing committed."""

import errno
import fnmatch
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fsmon_schemas import FILE_EVENT, ConfigError, FramingError, Schema
from fsmon_schemas.framing import SchemaRef, split_frame
from fsmon_schemas.registry import UnknownSchemaError

from fsmon_consumer import records
from fsmon_consumer.layout import SchemaMismatchError

OPERATIONS: tuple[str, ...] = next(
    tuple(field["type"]["symbols"]) for field in FILE_EVENT.declared["fields"] if field["name"] == "op"
)
_GLOB = "*?["
_DESCRIPTORS = {"open", "create"}
_BYTES = {"read", "write", "readdir", "clone"}


@dataclass(frozen=True)
class Filters:
    """Which events to show; empty means all. A path with *, ? or [ is a glob, else a file or a tree.

    ConfigError for what no event could ever match.
    """

    hosts: frozenset[str] = frozenset()
    ops: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    comms: frozenset[str] = frozenset()
    pids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        unknown = sorted(self.ops - set(OPERATIONS))
        if unknown:
            raise ConfigError(f"--op: no operation {', '.join(unknown)}; there are {', '.join(OPERATIONS)}")
        for path in self.paths:
            if not path.startswith(("/", *_GLOB)):
                raise ConfigError(
                    f"--path {path}: paths are absolute; give /…/{path}, or a glob as '*/{path}'"
                )

    def match(self, event: dict[str, Any]) -> bool:
        """Whether to show ``event``; either of its two paths may match."""
        return (
            (not self.hosts or event["host_id"] in self.hosts)
            and (not self.ops or event["op"] in self.ops)
            and (not self.comms or event["comm"] in self.comms)
            and (not self.pids or event["pid"] in self.pids)
            and (not self.paths or any(self._path_matches(event[name]) for name in ("path", "target_path")))
        )

    def _path_matches(self, path: str | None) -> bool:
        if path is None:
            return False
        return any(
            fnmatch.fnmatchcase(path, wanted)
            if any(letter in wanted for letter in _GLOB)
            else path == wanted or path.startswith(wanted.rstrip("/") + "/")
            for wanted in self.paths
        )


def events(
    values: Iterator[bytes | None],
    find_schema: Callable[[SchemaRef], Schema],
    complain: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Decode message values; what cannot be decoded is told to ``complain`` and left out.

    Raises what ``find_schema`` does when it cannot tell: without a registry there is nothing to show.
    """
    for value in values:
        try:
            ref, start = split_frame(value or b"")
            event = records.decode(find_schema(ref), (value or b"")[start:])
            if "op" not in event:
                complain("a message that is no FileEvent")
                continue
        except (FramingError, records.RecordError) as error:
            complain(f"a message that cannot be read: {error}")
        except (UnknownSchemaError, SchemaMismatchError) as error:
            complain(f"a message of another kind: {error}")
        else:
            yield event


def as_json(event: dict[str, Any]) -> str:
    """One line of JSON; times in ISO 8601, bytes in hex."""
    return json.dumps(event, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    assert isinstance(value, bytes)
    return value.hex()


def result(event: dict[str, Any]) -> str:
    """What the call returned, in words: an errno's name, a descriptor, a number of bytes, ok."""
    value = event["result"]
    if value is None:
        return "?"
    if value < 0:
        return errno.errorcode.get(-value, str(value))
    if event["op"] in _DESCRIPTORS:
        return f"fd {value}"
    if event["op"] in _BYTES:
        return f"{value} B"
    return "ok" if value == 0 else str(value)


class Table:
    """Lines with aligned columns: the widths grow with what was seen, up to a limit each."""

    _LIMITS = (26, 24, 11)  # host, process, op

    def __init__(self, *, colour: bool, width: int | None = None) -> None:
        self._colour = colour
        self._width = width or shutil.get_terminal_size((160, 24)).columns
        self._widths = [14, 16, 8]  # the first lines do not jump

    def header(self) -> str:
        """The column titles."""
        return self._paint("2", self._line("TIME", ("HOST", "PROCESS", "OP"), "RESULT", "PATH"))

    def line(self, event: dict[str, Any]) -> str:
        """One event on one line; control characters in names are escaped."""
        process = f"{event['comm']}[{event['pid']}]"
        path = _whole_or_cut(event, "path") or "(unknown)"
        if event["target_path"] is not None:
            path = f"{path} → {_whole_or_cut(event, 'target_path')}"
        cells = (event["host_id"], process, event["op"])
        text = self._line(
            f"{event['time'].astimezone():%H:%M:%S.%f}"[:-3],
            tuple(map(_printable, cells)),
            result(event),
            _printable(path),
        )
        return self._paint("31", text) if (event["result"] or 0) < 0 else text

    def _line(self, time: str, cells: tuple[str, ...], outcome: str, path: str) -> str:
        shown = []
        for index, (cell, limit) in enumerate(zip(cells, self._LIMITS, strict=True)):
            cut = cell if len(cell) <= limit else cell[: limit - 1] + "…"
            self._widths[index] = max(self._widths[index], len(cut))
            shown.append(cut.ljust(self._widths[index]))
        line = f"{time:<12}  {'  '.join(shown)}  {outcome:>10}  {path}"
        if self._colour and len(line) > self._width:  # only on a terminal: a file gets all of it
            kept = self._width - (len(line) - len(path)) - 1
            line = line[: len(line) - len(path)] + "…" + path[-kept:] if kept > 8 else line[: self._width]
        return line

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _whole_or_cut(event: dict[str, Any], name: str) -> str | None:
    """The path; behind a … where only the part nearest the file is known.

    Of an event's two paths, one that was cut has no leading slash. A symlink's content needs none.
    """
    path: str | None = event[name]
    absolute = path is None or path.startswith("/") or (name, event["op"]) == ("target_path", "symlink")
    cut = event.get("path_truncated") and not absolute
    return f"…{path}" if cut else path


def _printable(text: str) -> str:
    """A file may be named with escape sequences to deceive whoever reads the terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )
