import json
import os
import stat
from pathlib import Path

import fastavro
import pytest
from fsmon_producer.output import AvroFile, JsonLines, OutputClosedError
from fsmon_producer.ring import Batch, Cursor
from fsmon_producer.stamp import Stamp
from fsmon_schemas.errors import ConfigError
from unit.producer.fake_capture import body

START = Cursor(0, 0)


def messages(bodies: list[bytes], special: tuple[int, ...] = (), seq: int = 0) -> list[bytes]:
    return Stamp(b"", "host-a", 5, 10**6).messages(Batch(Cursor(0, seq), Cursor(0, 0), bodies, list(special)))


def test_json_lines_have_the_schemas_names_and_iso_times_and_no_nulls() -> None:
    reader, writer = os.pipe()
    output = JsonLines(START, writer)
    output.connect(0)
    sent = messages(
        [body(path="/tmp/a"), body({"path": b"/tmp/\xff"}), body({"path": "/ü\n".encode()})], (1, 2)
    )
    output.send(sent, Cursor(99, 3))
    assert output.acknowledged.cursor == Cursor(99, 3)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    assert [event["seq"] for event in events] == [0, 1, 2]
    assert [event["path"] for event in events] == ["/tmp/a", "/tmp/\\xff", "/ü\n"]
    assert events[0]["time"] == "2023-11-14T22:13:20+00:00"
    assert events[1]["path_raw"] == b"/tmp/\xff".hex()
    assert "target_path" not in events[0]


def test_a_time_no_calendar_has_and_bytes_that_are_no_event_are_shown_as_they_are() -> None:
    reader, writer = os.pipe()
    JsonLines(START, writer).send([*messages([body(time=2**62)]), b"\xff\xff"], Cursor(1, 2))
    os.close(writer)
    with os.fdopen(reader) as lines:
        strange, broken = (json.loads(line) for line in lines)
    assert strange["time"] == 2**62
    assert broken["undecodable"] == "ffff"


def test_a_closed_pipe_is_told_apart_from_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    output = JsonLines(START, writer)
    with pytest.raises(OutputClosedError):
        output.send(messages([body()]), Cursor(1, 1))
    assert output.acknowledged.cursor == START
    os.close(writer)


def test_an_avro_file_is_read_by_fastavro_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    output = AvroFile(START, path)
    output.connect(0)
    output.send(messages([body(pid=number) for number in range(1000)]), Cursor(1, 1000))
    output.send([], Cursor(2, 1000))
    output.send(messages([body(pid=1000)], seq=1000), Cursor(3, 1001))
    output.close()
    with path.open("rb") as file:
        events = list(fastavro.reader(file))
    assert [event["pid"] for event in events if isinstance(event, dict)] == list(range(1001))
    assert [event["seq"] for event in events if isinstance(event, dict)] == list(range(1001))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_avro_file_never_overwrites_nor_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "there.avro").write_text("precious")
    (tmp_path / "link.avro").symlink_to(tmp_path / "elsewhere")
    for name in ("there.avro", "link.avro", "no/such/dir.avro"):
        with pytest.raises(ConfigError, match="must be a new file"):
            AvroFile(START, tmp_path / name)
    assert (tmp_path / "there.avro").read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()
