"""Writer schemas: what is fetched, what is kept, and what is nobody's."""

import pytest
from fsmon_consumer.registry import WriterSchemas
from fsmon_schemas import FILE_EVENT, FatalError
from fsmon_schemas.framing import Fingerprint, RegistryId
from fsmon_schemas.registry import UnknownSchemaError
from unit.fake_registry import answering


def test_a_schema_is_fetched_once_and_packaged_ones_never() -> None:
    with answering(200, {"schema": FILE_EVENT.text}) as registry:
        schemas = WriterSchemas(f"http://{registry.address}/base")
        assert schemas.find(Fingerprint(FILE_EVENT.fingerprint)) == FILE_EVENT
        assert [schemas.find(RegistryId(7)) for _ in range(3)] == [FILE_EVENT] * 3
        assert registry.seen == [("GET", "/base/schemas/ids/7", None)]


def test_an_id_that_nobody_knows_and_one_that_is_no_avro() -> None:
    with (
        answering(404, {"error_code": 40403, "message": "none"}) as registry,
        pytest.raises(UnknownSchemaError, match="schema 7"),
    ):
        WriterSchemas(f"http://{registry.address}").find(RegistryId(7))
    with (
        answering(200, {"schemaType": "PROTOBUF", "schema": "message A {}"}) as registry,
        pytest.raises(UnknownSchemaError, match="not Avro"),
    ):
        WriterSchemas(f"http://{registry.address}").find(RegistryId(7))


def test_a_wrong_path_does_not_make_every_message_a_dead_letter() -> None:
    with answering(404, b"<html>") as registry, pytest.raises(FatalError, match="check the path") as raised:
        WriterSchemas(f"http://{registry.address}/wrong").find(RegistryId(7))
    assert not isinstance(raised.value, UnknownSchemaError)
