"""What `tail` shows and what it leaves out; following a topic: integration tests."""

import pytest
from fsmon_consumer import tail
from fsmon_consumer.registry import WriterSchemas
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, ConfigError, Schema
from fsmon_schemas.framing import SchemaRef, confluent_prefix, single_object_prefix
from fsmon_schemas.registry import RegistryAwayError
from simulated_host import SimulatedHost

FRAME = single_object_prefix(FILE_EVENT)
HOST = SimulatedHost("host-1", 77, FRAME, 1_795_000_000_000_000)


def test_what_cannot_be_read_is_left_out_and_said() -> None:
    [sound] = HOST.messages(1)
    other = HOST.report(acked=0, partition=None, offset=None, ended=False)
    values = [b"?", confluent_prefix(9), FRAME + b"x", single_object_prefix(CAPTURE_REPORT) + other, sound]
    told: list[str] = []
    [event] = tail.events(iter(values), WriterSchemas(None).find, told.append)
    assert event["host_id"] == "host-1"
    assert len(told) == 4


def test_filters_that_could_match_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no operation opne; there are .*\bopen, read\b"):
        tail.Filters(ops=frozenset({"opne", "read"}))
    with pytest.raises(ConfigError, match="--path etc/passwd: paths are absolute"):
        tail.Filters(paths=("/ok", "*.swp", "etc/passwd"))


def test_a_path_that_was_cut_shows_it() -> None:
    event = next(tail.events(HOST.messages(1), WriterSchemas(None).find, pytest.fail))
    table = tail.Table(colour=False)
    event |= {"op": "rename", "path": "deep/file", "target_path": None, "path_truncated": True}
    assert table.line(event).endswith(" …deep/file")
    assert table.line(event | {"target_path": "/whole"}).endswith(" …deep/file → /whole")
    assert table.line(event | {"path": "/a", "target_path": "b/c"}).endswith(" /a → …b/c")
    assert table.line(event | {"op": "symlink", "target_path": "b/c"}).endswith(" …deep/file → b/c")
    assert table.line(event | {"path": "a", "path_truncated": False}).endswith(" a")


def test_a_registry_that_is_away_ends_it() -> None:
    def away(ref: SchemaRef) -> Schema:
        raise RegistryAwayError(str(ref))

    with pytest.raises(RegistryAwayError):
        list(tail.events(HOST.messages(1), away, pytest.fail))
