"""What a person must mend is said at once; what does not fit is never lost in silence."""

import re
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from fix_kafka import Broker, Topics
from fix_registry import SchemaRegistry
from fsmon_producer.topics import Topics as ProducerTopics
from fsmon_schemas.errors import ConfigError, FatalError
from integration.producer.producing_host import ProducingHost, arrived, wait_until
from local.kafka import Kafka

pytestmark = pytest.mark.services


def set_largest_message(bootstrap: str, topic: str, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(30)


def test_refused_credentials_are_fatal(kafka: Broker, topics: Topics) -> None:
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
    secret = {"sasl.username": "fsmon", "sasl.password": "hunter2"}
    host = ProducingHost(kafka.bootstrap, topics, kafka={**login, **secret}).start()
    host.join()
    assert isinstance(host.error, FatalError)
    assert re.search("Kafka refuses.*check sasl.mechanism", str(host.error))
    assert "hunter2" not in str(host.error)
    assert host.error.exit_code == 1


def test_tls_to_a_plain_listener_is_said(
    kafka: Broker, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    host = ProducingHost(
        kafka.bootstrap, topics, kafka={"security.protocol": "SSL"}, drain_timeout=0.1
    ).start()
    words = "connecting to a PLAINTEXT broker listener?"
    try:
        wait_until(lambda: any(words in record.getMessage() for record in caplog.records))
    finally:
        code = host.stop()
    assert code == 1


def test_a_setting_librdkafka_does_not_know_is_a_configuration_error(kafka: Broker, topics: Topics) -> None:
    host = ProducingHost(kafka.bootstrap, topics, kafka={"linger.msec": "1"}).start()
    host.join()
    assert isinstance(host.error, ConfigError)
    assert "linger.msec" in str(host.error)


@pytest.mark.parametrize("missing", ["events", "reports"])
def test_an_unknown_topic_is_fatal_and_the_remedy_is_named(
    kafka: Broker, topics: Topics, missing: str
) -> None:
    names = {"events": topics.events, "reports": topics.reports, missing: f"no-such-{missing}"}
    host = ProducingHost(kafka.bootstrap, Topics(**names, partitions=1)).start()
    host.join()
    assert isinstance(host.error, FatalError)
    assert f"no-such-{missing}" in str(host.error)
    assert "fsmon-producer topics create" in str(host.error)


def test_an_unregistered_schema_is_fatal_and_the_remedy_is_named(
    kafka: Broker, topics: Topics, registry: SchemaRegistry
) -> None:
    host = ProducingHost(kafka.bootstrap, topics, registry=registry.url).start()
    host.join()
    assert isinstance(host.error, FatalError)
    assert "fsmon-producer topics create" in str(host.error)


def test_a_registry_that_is_away_is_waited_for(
    kafka: Broker, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    host = ProducingHost(kafka.bootstrap, topics, registry="http://127.0.0.1:1", drain_timeout=0.1).start()
    host.capture.emit_event()
    wait_until(lambda: host.capture.clock_syncs >= 3)
    assert host.stop() == 1
    outages = [record for record in caplog.records if "the registry does not answer" in record.getMessage()]
    assert len(outages) == 1


def test_a_topic_with_small_messages_gets_small_batches_and_stubs(kafka: Broker, topics: Topics) -> None:
    set_largest_message(kafka.bootstrap, topics.events, 5000)
    host = ProducingHost(kafka.bootstrap, topics, ring_bytes=1 << 22).start()
    for number in range(500):
        long = number % 100 == 7
        host.capture.emit_event(pid=number, path="/" + "p" * (6000 if long else 4000))
    assert host.stop() == 0
    events = [event.value for event in arrived(kafka.bootstrap, topics.events, topics.partitions)]
    assert [event["seq"] for event in events] == list(range(500))
    assert [event["pid"] for event in events if event["path"] is None] == [7, 107, 207, 307, 407]
    assert all(event["path_truncated"] == (event["path"] is None) for event in events)


def test_a_limit_lowered_while_it_runs_is_learned_and_nothing_lost(
    kafka: Broker, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    host = ProducingHost(kafka.bootstrap, topics, ring_bytes=1 << 22).start()
    host.capture.emit_event(pid=0)
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 1)
    set_largest_message(kafka.bootstrap, topics.events, 5000)
    for number in range(1, 300):
        host.capture.emit_event(
            pid=number, path="/" + "%x" % (number**2000) if number % 50 else "/" + "q" * 6000
        )
    wait_until(lambda: host.publisher.acknowledged.cursor.seq == 300)
    assert host.stop() == 0
    events = [event.value for event in arrived(kafka.bootstrap, topics.events, topics.partitions)]
    assert [event["seq"] for event in events] == list(range(300))
    assert [event["pid"] for event in events] == list(range(300))
    assert any("sending again from seq" in record.getMessage() for record in caplog.records)


def acl(topic: str, operation: AclOperation) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:ANONYMOUS",
        "*",
        operation,
        AclPermissionType.ALLOW,
    )


def test_a_user_who_may_not_write_is_refused_and_told_what_to_grant(state_dir: Path) -> None:
    broker = Kafka(state_dir / "acl")
    broker.start()
    try:
        names = Topics("acl.file-events", "acl.capture-reports", 1)
        administration = ProducerTopics(broker.bootstrap, {})
        for name in (names.events, names.reports):
            administration.create(name, 1, 1, 10)
            administration.wait_for(name, 10)
        broker.stop()
        with (state_dir / "acl" / "kafka-1.properties").open("a") as properties:
            properties.write(
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
                "allow.everyone.if.no.acl.found=true\n"
            )
        broker.start()
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        describe, configs = AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS
        for name, allowed in ((names.reports, (describe, configs)), (names.events, (describe,))):
            grants = [acl(name, operation) for operation in allowed]
            for future in admin.create_acls(grants).values():
                future.result(30)
            host = ProducingHost(broker.bootstrap, names).start()
            host.capture.emit_event()
            host.join()
            assert isinstance(host.error, FatalError)
            assert "grant this user Describe, DescribeConfigs and Write" in str(host.error)
    finally:
        broker.stop()
