"""What `tail` shows and what it leaves out; following a topic: integration tests."""

import pytest
from fsmon_consumer import tail
from fsmon_consumer.registry import WriterSchemas
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT, Schema
from fsmon_schemas.framing import SchemaRef, confluent_prefix, single_object_prefix
from fsmon_schemas.registry import RegistryAwayError
from generator import SimulatedHost

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


def test_a_registry_that_is_away_ends_it() -> None:
    def away(ref: SchemaRef) -> Schema:
        raise RegistryAwayError(str(ref))

    with pytest.raises(RegistryAwayError):
        list(tail.events(HOST.messages(1), away, pytest.fail))
