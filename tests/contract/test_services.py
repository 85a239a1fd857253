"""Each local service answers as production's would."""

import json
import uuid
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError
from fix_kafka import Broker, Topics
from fix_postgres import Server
from fix_registry import SchemaRegistry
from fsmon_schemas import schema

pytestmark = pytest.mark.services


def test_kafka_stores_and_gives_back(kafka: Broker, topics: Topics) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True})
    for number in range(100):
        producer.produce(topics.events, key=b"host", value=b"%d" % number, partition=2)
    assert producer.flush(30) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": str(uuid.uuid4()),
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topics.events])
    try:
        messages = consumer.consume(100, timeout=30)
    finally:
        consumer.close()
    assert [message.value() for message in messages] == [b"%d" % number for number in range(100)]
    assert {message.partition() for message in messages} == {2}


def test_kafka_topics_use_the_brokers_clock(kafka: Broker, topics: Topics) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    resource = ConfigResource(ConfigResource.Type.TOPIC, topics.events)
    config = admin.describe_configs([resource])[resource].result(30)
    assert config["message.timestamp.type"].value == "LogAppendTime"
    assert len(admin.list_topics(topics.events, timeout=10).topics[topics.events].partitions) == 4


@pytest.mark.parametrize("source", [schema.FILE_EVENT, schema.CAPTURE_REPORT], ids=["event", "report"])
def test_registry_holds_schemas_to_full_transitive(registry: SchemaRegistry, source: schema.Schema) -> None:
    subject = f"{uuid.uuid4()}-value"
    with SchemaRegistryClient({"url": registry.url}) as client:
        first = client.register_schema(subject, Schema(source.text, "AVRO"))
        client.set_compatibility(subject, "FULL_TRANSITIVE")
        assert client.register_schema(subject, Schema(source.text, "AVRO")) == first

        optional = {"name": "added", "type": ["null", "string"], "default": None}
        assert client.register_schema(subject, _with_field(source, optional)) != first
        with pytest.raises(SchemaRegistryError) as refusal:
            client.register_schema(subject, _with_field(source, {"name": "required", "type": "string"}))
        assert refusal.value.http_status_code == 409


@pytest.mark.parametrize("postgres", ["18", "15"], indirect=True)
def test_postgres_gives_each_test_an_empty_database(postgres: Server, database: str) -> None:
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_stat_user_tables").fetchone() == (0,)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        connection.execute("CREATE TABLE t (path text)")


def test_postgres_refuses_a_wrong_password(postgres: Server) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn, password="wrong")


def _with_field(source: schema.Schema, field: dict[str, Any]) -> Schema:
    declared = json.loads(source.text)
    declared["fields"].append(field)
    return Schema(json.dumps(declared), "AVRO")
