"""From the kernel to PostgreSQL with nothing in plain: TLS, SCRAM, ACLs and the least database roles."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from fix_secure import PASSWORDS, Certificates, SecureKafka
from local.postgres import Postgres
from local.process import Process
from unit_rights import with_the_units_rights

pytestmark = pytest.mark.services
SCRIPTS = Path(sys.executable).parent
# What docs/security.md says a user needs; a test holds the two together.
ACLS: dict[str, dict[ResourceType, tuple[AclOperation, ...]]] = {
    "producer": {
        ResourceType.TOPIC: (AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS),
    },
    "creator": {
        ResourceType.TOPIC: (AclOperation.CREATE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS),
    },
    "consumer": {
        ResourceType.TOPIC: (AclOperation.READ, AclOperation.DESCRIBE),
        ResourceType.GROUP: (AclOperation.READ, AclOperation.DESCRIBE),
    },
}


@dataclass
class Secured:
    """Topics, a database and its roles, and how to come to them."""

    kafka: SecureKafka
    postgres: Postgres
    certificates: Certificates
    events: str
    reports: str
    database: str

    def superuser(self) -> psycopg.Connection:
        return psycopg.connect(self.postgres.database(self.database), autocommit=True)

    def dsn(self, role: str, **changes: str) -> str:
        parts = urlsplit(self.postgres.dsn)
        words = {
            "host": "localhost",
            "hostaddr": "127.0.0.1",
            "port": str(parts.port),
            "dbname": self.database,
            "user": f"{self.database}_{role}",
            "sslmode": "verify-full",
            "sslrootcert": str(self.certificates.authority),
            **changes,
        }
        return " ".join(f"{name}={value}" for name, value in words.items())

    def environment(self, user: str, *, dsn: str = "", **changes: str) -> dict[str, str]:
        """Of a command that acts as a Kafka user; passwords come through the environment."""
        client = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": PASSWORDS[user],
            "ssl.ca.location": str(self.certificates.authority),
            **changes,
        }
        return {
            **os.environ,
            "PGPASSWORD": "Xq-database-Xq",
            "FSMON_BOOTSTRAP_SERVERS": self.kafka.secure_bootstrap,
            "FSMON_TOPIC": self.events,
            "FSMON_REPORTS_TOPIC": self.reports,
            "FSMON_GROUP": self.events,
            "FSMON_DSN": dsn,
            "FSMON_LOG_LEVEL": "debug",
            "FSMON_KAFKA": " ".join(f"{name}={value}" for name, value in client.items()),
        }

    def run(self, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(SCRIPTS / words[0]), *words[1:]]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def secured(
    secure_kafka: SecureKafka, secure_postgres: Postgres, certificates: Certificates
) -> Iterator[Secured]:
    name = f"secure_{uuid.uuid4().hex[:12]}"
    made = Secured(
        secure_kafka, secure_postgres, certificates, f"{name}.file-events", f"{name}.capture-reports", name
    )
    admin = AdminClient({"bootstrap.servers": secure_kafka.bootstrap})
    stamped = {"message.timestamp.type": "LogAppendTime"}
    topics = [NewTopic(topic, 2, 1, config=stamped) for topic in (made.events, made.reports)]
    for future in admin.create_topics(topics).values():
        future.result(30)
    bindings = [
        AclBinding(
            kind, name, ResourcePatternType.PREFIXED, f"User:{user}", "*", operation, AclPermissionType.ALLOW
        )
        for user, kinds in ACLS.items()
        for kind, operations in kinds.items()
        for operation in operations
    ]
    for future in admin.create_acls(bindings).values():
        future.result(30)
    with psycopg.connect(secure_postgres.dsn, autocommit=True) as server:
        for role, rights in (("migrator", "CREATEROLE"), ("writer", ""), ("reader", "")):
            server.execute(f"CREATE ROLE {name}_{role} LOGIN PASSWORD 'Xq-database-Xq' {rights}")
        server.execute(f"CREATE DATABASE {name} OWNER {name}_migrator")
    yield made
    with psycopg.connect(secure_postgres.dsn, autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        server.execute(f"DROP ROLE {name}_migrator, {name}_writer, {name}_reader")


def migrated(secured: Secured) -> None:
    done = secured.run(
        secured.environment("consumer", dsn=secured.dsn("migrator")), "fsmon-consumer", "migrate"
    )
    assert done.returncode == 0, done.stderr
    with secured.superuser() as server:
        for role in ("writer", "reader"):
            server.execute(f"GRANT fsmon_{role} TO {secured.database}_{role}")


def says(program: Process, words: str) -> bool:
    return words in program.log.read_text()


@pytest.mark.kernel
def test_the_whole_way_needs_no_more_than_the_documented_rights(secured: Secured, tmp_path: Path) -> None:
    migrated(secured)
    watched = tmp_path / "watched"
    watched.mkdir()
    consumer, producer = Process("consumer", tmp_path), Process("producer", tmp_path)
    consumer.launch(
        [SCRIPTS / "fsmon-consumer", "run"], secured.environment("consumer", dsn=secured.dsn("writer"))
    )
    bpffs = tmp_path / "bpffs"
    bpffs.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
    state = {"FSMON_STATE_DIR": str(tmp_path / "state"), "FSMON_BPFFS": str(bpffs / "fsmon")}
    run: list[str | Path] = [SCRIPTS / "fsmon-producer", "run", "--watch", watched, "--report-interval=1"]
    try:
        for said, end in (("capturing", signal.SIGTERM), ("taking over", signal.SIGINT)):
            producer.launch([*with_the_units_rights(), *run], secured.environment("producer") | state)
            producer.wait(partial(says, producer, said), 60)
            for number in range(25):
                (watched / f"file-{end}-{number}").write_text("x")
            assert producer.stop(30, polite=end) == 0, producer.log.read_text()
            (watched / "between").touch()
        assert not (bpffs / "fsmon").exists() or not list((bpffs / "fsmon").iterdir())
        reader = secured.environment("consumer", dsn=secured.dsn("reader"))
        found = secured.run(reader, "fsmon-consumer", "audit", "--settle", "30", "--format", "json")
        assert found.returncode == 0, found.stderr + consumer.log.read_text()
        [session] = json.loads(found.stdout)["sessions"]
        assert session["stored"] >= 100
        assert session["unaccounted"] == 0
        assert "no partition is retired here" in consumer.log.read_text()
        for process in (consumer, producer):  # at debug level
            assert "Xq-" not in process.log.read_text()
    finally:
        producer.kill()
        subprocess.run([*run[:1], "detach"], env=state, stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["umount", bpffs], check=True)
        assert consumer.stop(30) == 0, consumer.log.read_text()


def test_topics_create_needs_no_more_than_the_documented_rights(secured: Secured) -> None:
    names = {
        "FSMON_TOPIC": f"{secured.database}.new",
        "FSMON_REPORTS_TOPIC": f"{secured.database}.new-reports",
    }
    done = secured.run(secured.environment("creator") | names, "fsmon-producer", "topics", "create")
    assert done.returncode == 0, done.stderr


def test_each_kafka_user_is_refused_what_is_not_its_own(secured: Secured) -> None:
    stranger = secured.run(secured.environment("stranger"), "fsmon-producer", "topics", "check")
    assert stranger.returncode == 1, stranger.stderr
    wrong = secured.environment("producer", **{"sasl.password": "Xq-wrong-Xq"})
    told = secured.run(wrong, "fsmon-producer", "topics", "check")
    assert told.returncode == 1
    assert "sasl.password" in told.stderr
    untrusted = secured.environment("producer", **{"ssl.ca.location": str(secured.certificates.stranger)})
    told = secured.run(untrusted, "fsmon-producer", "topics", "check")
    assert told.returncode == 1
    assert "ssl.ca.location" in told.stderr
    reading = secured.run(secured.environment("producer"), "fsmon-consumer", "tail", "--limit", "1")
    assert reading.returncode == 1, reading.stdout
    assert "ACL" in reading.stderr
    for each in (stranger, told, reading):
        assert "Traceback" not in each.stderr
        assert "Xq-" not in each.stderr + each.stdout


def test_a_writer_can_add_events_and_neither_read_change_nor_remove_them(secured: Secured) -> None:
    migrated(secured)
    with psycopg.connect(secured.dsn("writer", password="Xq-database-Xq"), autocommit=True) as writer:
        writer.execute("SELECT add_partition('2026-11-25 10:30+00')")
        settled = "SELECT settled_events('{0}', '{h}', '{1}', '{1}', '{2026-11-25 10:30+00}', '{1}')"
        assert writer.execute(settled).fetchall() == []  # no more than yes or no
        for statement in (
            "SELECT * FROM file_events",
            "UPDATE file_events SET path = ''",
            "DELETE FROM file_events",
            "DELETE FROM dead_letters",
            "DROP TABLE file_events_2026112510",
            "ALTER TABLE file_events DETACH PARTITION file_events_2026112510",
            "TRUNCATE streams",
            "CREATE TABLE mine ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                writer.execute(statement)
    with psycopg.connect(secured.dsn("reader", password="Xq-database-Xq"), autocommit=True) as reader:
        assert reader.execute("SELECT count(*) FROM ecs_file_events").fetchall() == [(0,)]
        for statement in (
            "INSERT INTO streams VALUES ('h', 1, 0)",
            "SELECT add_partition('2026-11-25 12:00+00')",
            settled,
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sslrootcert": "{stranger}"}, "certificate verify failed"),
        ({"host": "another.example"}, "does not match host name"),
        ({"sslrootcert": "/nowhere/ca.pem"}, "root certificate file"),
        ({"sslmode": "disable"}, "no pg_hba.conf entry"),
    ],
)
def test_a_database_that_is_not_who_it_says_is_not_waited_for(
    secured: Secured, change: dict[str, str], told: str
) -> None:
    change = {name: value.format(stranger=secured.certificates.stranger) for name, value in change.items()}
    done = secured.run(
        secured.environment("consumer", dsn=secured.dsn("writer", **change)), "fsmon-consumer", "run"
    )
    assert done.returncode == 1, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_without_the_right_to_create_roles_says_what_to_ask_for(secured: Secured) -> None:
    with secured.superuser() as server:
        server.execute(f"ALTER ROLE {secured.database}_migrator NOCREATEROLE")
        server.execute("DROP ROLE IF EXISTS fsmon_writer, fsmon_reader")  # another test's
    done = secured.run(
        secured.environment("consumer", dsn=secured.dsn("migrator")), "fsmon-consumer", "migrate"
    )
    assert done.returncode == 1
    assert "CREATE ROLE fsmon_writer" in done.stderr
    with secured.superuser() as server:
        server.execute("CREATE ROLE fsmon_writer")
        server.execute("CREATE ROLE fsmon_reader")
    migrated(secured)
