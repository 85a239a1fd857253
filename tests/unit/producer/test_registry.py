"""The producer's questions to the registry; what unhealthy answers mean: tests/unit/schemas."""

import pytest
from fsmon_producer.registry import Registry
from fsmon_schemas.registry import UnknownSchemaError
from fsmon_schemas.schema import FILE_EVENT
from unit.fake_registry import answering


@pytest.mark.parametrize("code", [40401, 40403])
def test_a_schema_that_is_not_registered_has_its_remedy(code: int) -> None:
    with (
        answering(404, {"error_code": code, "message": "none"}) as registry,
        pytest.raises(UnknownSchemaError, match="topics create"),
    ):
        Registry(f"http://{registry.address}").schema_id("topic", FILE_EVENT)


def test_subjects_are_quoted() -> None:
    with answering(200, {"id": 7}) as registry:
        assert Registry(f"http://{registry.address}/base/").schema_id("a/b", FILE_EVENT) == 7
        assert registry.seen == [("POST", "/base/subjects/a%2Fb-value", None)]
