"""Released schemas, frozen: ``make release-schema`` writes the current ones down if they have changed.

A topic outlives the programs: a schema that a released producer has written with may lie in it, or in a
spool or a dead letter, and has to be read. So a released file is never edited (released/SHA256SUMS holds
it to that), and a new version is compatible with every one before it in both directions, as the registry
demands under FULL_TRANSITIVE; this is the same check without a registry, for CI.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsmon_schemas.schema import CAPTURE_REPORT, FILE_EVENT, Schema

DIRECTORY = Path(__file__).parent / "released"
_SUMS = DIRECTORY / "SHA256SUMS"
CURRENT = {"file_event": FILE_EVENT, "capture_report": CAPTURE_REPORT}


def released(name: str, directory: Path = DIRECTORY) -> list[tuple[int, Schema]]:
    """The versions of ``name`` and their schemas, oldest first."""
    found = []
    for file in directory.glob(f"{name}-*.avsc"):
        version = int(file.stem.rpartition("-")[2])
        found.append((version, Schema(file.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda each: each[0])


def breaks(one: Schema, other: Schema) -> list[str]:
    """What keeps readers of either schema from what was written with the other; empty if nothing does."""
    pairs = ((one.declared, other.declared), (other.declared, one.declared))
    return sorted({problem for reader, writer in pairs for problem in _breaks(reader, writer, "")})


def freeze(directory: Path = DIRECTORY) -> list[str]:
    """Write down what differs from its newest released version; returns the files made.

    ValueError where it is not compatible with one of them.
    """
    made = []
    for name, schema in CURRENT.items():
        before = released(name, directory)
        if before and _bare(before[-1][1].declared) == _bare(schema.declared):
            continue
        for version, old in before:
            if problems := breaks(old, schema):
                raise ValueError(
                    f"{name} is not compatible with its version {version}: {'; '.join(problems)}"
                )
        file = directory / f"{name}-{before[-1][0] + 1 if before else 1}.avsc"
        file.write_text(schema.text, encoding="utf-8")
        with (directory / _SUMS.name).open("a", encoding="utf-8") as sums:
            sums.write(f"{hashlib.sha256(schema.text.encode()).hexdigest()}  {file.name}\n")
        made.append(file.name)
    return made


def _breaks(reader: Any, writer: Any, where: str) -> Iterator[str]:
    if isinstance(reader, dict) and isinstance(writer, dict) and reader["type"] == writer["type"]:
        yield from _same_kind(reader, writer, where)
    elif isinstance(reader, list) and isinstance(writer, list) and len(reader) == len(writer):
        for of_reader, of_writer in zip(reader, writer, strict=True):
            yield from _breaks(of_reader, of_writer, where)
    elif reader != writer:
        # int -> long and the like are read in one direction only.
        yield f"{where or 'the record'} has another type"


def _same_kind(reader: dict[str, Any], writer: dict[str, Any], where: str) -> Iterator[str]:
    if any(reader.get(key) != writer.get(key) for key in ("name", "namespace", "logicalType", "size")):
        yield f"{where or 'the record'} has another name or meaning"
    match reader["type"]:
        case "record":
            written = {field["name"]: field["type"] for field in writer["fields"]}
            for field in reader["fields"]:
                name = f"{where}.{field['name']}" if where else field["name"]
                if field["name"] in written:
                    yield from _breaks(field["type"], written[field["name"]], name)
                elif "default" not in field:
                    yield f"{name} has no default"
        case "enum":
            if not set(writer["symbols"]) <= set(reader["symbols"]) and "default" not in reader:
                yield f"{where} has other symbols and no default"
        case "array":
            yield from _breaks(reader["items"], writer["items"], where)
        case "map":
            yield from _breaks(reader["values"], writer["values"], where)


def _bare(declared: Any) -> Any:
    """Without the documentation, which may be bettered at any time."""
    if isinstance(declared, dict):
        return {key: _bare(value) for key, value in declared.items() if key != "doc"}
    return [_bare(each) for each in declared] if isinstance(declared, list) else declared


def main() -> None:
    """For `make release-schema`."""
    made = freeze()
    print("\n".join(f"released {name}" for name in made) or "no schema has changed since its last release")  # noqa: T201


if __name__ == "__main__":
    main()
