"""Released schemas stay as they are, and everything written with one can be read for ever."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fsmon_consumer import records
from fsmon_consumer.columns import BlockReader
from fsmon_consumer.registry import WriterSchemas
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema, release
from fsmon_schemas.framing import Fingerprint
from simulated_host import SimulatedHost, encode

_ALL = [(name, version, schema) for name in release.CURRENT for version, schema in release.released(name)]
REQUIRED = {"name": "x", "type": "long"}
HOST = SimulatedHost("h", 7, b"", 1_795_000_000_000_000)


def changed(source: Schema, change: Any) -> Schema:
    declared = json.loads(source.text)
    change({field["name"]: field for field in declared["fields"]}, declared["fields"])
    return Schema(json.dumps(declared))


def test_released_files_are_never_edited() -> None:
    sums = release.DIRECTORY / "SHA256SUMS"
    lines = [line.split() for line in sums.read_text().splitlines()] if sums.exists() else []
    listed = {name: checksum for checksum, name in lines}
    there = {file.name: file for file in release.DIRECTORY.glob("*.avsc")}
    assert set(listed) == set(there)
    for name, file in there.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == listed[name], f"{name} was edited"


def test_every_version_is_compatible_with_the_current_one_and_all_others() -> None:
    for name, version, schema in _ALL:
        others = [("the current one", release.CURRENT[name]), *release.released(name)]
        for other, its_schema in others:
            assert release.breaks(schema, its_schema) == [], (name, version, other)


def test_the_consumer_knows_every_released_version_without_a_registry() -> None:
    known = WriterSchemas(None)
    for name, _, schema in [*_ALL, *((name, 0, schema) for name, schema in release.CURRENT.items())]:
        found = known.find(Fingerprint(schema.fingerprint))
        if name == "file_event":
            assert not BlockReader(found).dropped
        else:
            body = HOST.report(acked=0, partition=None, offset=None, ended=False)
            report = records.decode_report(CAPTURE_REPORT, body)
            assert records.decode_report(found, encode(found, report)).keys() == report.keys()


@pytest.mark.parametrize(
    ("source", "change", "problem"),
    [
        (FILE_EVENT, lambda by, all_: all_.append(REQUIRED), "x has no default"),
        (FILE_EVENT, lambda by, all_: all_.remove(by["pid"]), "pid has no default"),
        (FILE_EVENT, lambda by, all_: by["pid"].update(type="int"), "pid has another type"),
        (FILE_EVENT, lambda by, all_: by["path"].update(type="string"), "path has another type"),
        (FILE_EVENT, lambda by, all_: by["time"].update(type="long"), "time has another type"),
        (FILE_EVENT, lambda by, all_: by["pid"].update(name="process"), "pid has no default; process has no"),
        (FILE_EVENT, lambda by, all_: by["op"]["type"].update(name="Op"), "op has another name"),
        (CAPTURE_REPORT, lambda by, all_: by["lost"]["type"].update(values="int"), "lost has another type"),
        (
            CAPTURE_REPORT,
            lambda by, all_: by["operations"]["type"]["items"]["fields"].append(REQUIRED),
            "operations.x has no default",
        ),
    ],
)
def test_what_breaks(source: Schema, change: Any, problem: str) -> None:
    assert problem in "; ".join(release.breaks(source, changed(source, change)))


@pytest.mark.parametrize(
    "change",
    [
        lambda by, all_: all_.append({"name": "x", "type": ["null", "long"], "default": None}),
        lambda by, all_: all_.remove(by["count"]),
        lambda by, all_: by["op"]["type"]["symbols"].append("levitate"),
        lambda by, all_: by["pid"].update(doc="Another text."),
    ],
)
def test_what_does_not(change: Any) -> None:
    assert release.breaks(FILE_EVENT, changed(FILE_EVENT, change)) == []


def test_freezing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert release.freeze(tmp_path) == ["file_event-1.avsc", "capture_report-1.avsc"]
    assert release.freeze(tmp_path) == [], "nothing has changed"
    newer = changed(FILE_EVENT, lambda by, all_: all_.append({"name": "x", "type": "long", "default": 0}))
    monkeypatch.setitem(release.CURRENT, "file_event", newer)
    assert release.freeze(tmp_path) == ["file_event-2.avsc"]
    assert [version for version, _ in release.released("file_event", tmp_path)] == [1, 2]
    assert len((tmp_path / "SHA256SUMS").read_text().splitlines()) == 3
    worse = changed(FILE_EVENT, lambda by, all_: by["pid"].update(type="string"))
    monkeypatch.setitem(release.CURRENT, "file_event", worse)
    with pytest.raises(
        ValueError, match="file_event is not compatible with its version 1: pid has another type"
    ):
        release.freeze(tmp_path)
