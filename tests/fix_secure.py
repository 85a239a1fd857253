"""Kafka with TLS, SCRAM and ACLs, and PostgreSQL with TLS alone, on certificates made for the session."""

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from local.kafka import Kafka
from local.ports import listening, ports
from local.postgres import Postgres

PASSWORDS = MappingProxyType(
    {name: f"Xq-{name}-Xq" for name in ("producer", "consumer", "creator", "stranger")}
)


@dataclass(frozen=True)
class Certificates:
    """An authority, a server's key and chain for 127.0.0.1 and localhost, and an authority of nobody."""

    authority: Path
    stranger: Path
    key: Path
    chain: Path


@pytest.fixture(scope="session")
def certificates(state_dir: Path) -> Certificates:
    directory = state_dir / "certificates"
    directory.mkdir(parents=True)
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    made = Certificates(*(directory / name for name in ("ca.pem", "other-ca.pem", "key.pem", "chain.pem")))
    authority.cert_pem.write_to_path(str(made.authority))
    trustme.CA().cert_pem.write_to_path(str(made.stranger))
    # Kafka reads PKCS#8 keys only.
    key = serialization.load_pem_private_key(server.private_key_pem.bytes(), None)
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    made.chain.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    return made


class SecureKafka(Kafka):
    """A broker whose clients come over TLS and SCRAM with what ACLs give; tests administer it in plain."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        users = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in PASSWORDS.items()]
        super().__init__(directory, formatted=[word for user in users for word in ("--add-scram", user)])
        (self._port,) = ports(directory / "sasl", 1)
        self._certificates = certificates
        self._pair = directory / "pair.pem"

    @property
    def secure_bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def ready(self) -> bool:
        return listening(self._port)

    def settings(self, index: int) -> dict[str, str]:
        plain = super().settings(index)
        self._pair.write_bytes(self._certificates.key.read_bytes() + self._certificates.chain.read_bytes())
        return plain | {
            "listeners": f"{plain['listeners']},SASL_SSL://{self.secure_bootstrap}",
            "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._pair),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }


@pytest.fixture(scope="session")
def secure_kafka(state_dir: Path, certificates: Certificates) -> Iterator[SecureKafka]:
    ours = SecureKafka(state_dir / "secure-kafka", certificates)
    ours.start()
    assert ours.ready
    yield ours
    ours.stop()


@pytest.fixture(scope="session")
def secure_postgres(state_dir: Path, certificates: Certificates) -> Iterator[Postgres]:
    """Takes nothing but TLS. Debian's 15: the wheel's 18 is built without it."""
    directory = state_dir / "secure-postgres"
    directory.mkdir(parents=True)
    key, access = directory / "key.pem", directory / "pg_hba.conf"
    key.write_bytes(certificates.key.read_bytes())
    key.chmod(0o640)  # what PostgreSQL accepts of a key that belongs to root
    os.chown(key, 0, pwd.getpwnam("postgres").pw_gid)
    access.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    ours = Postgres(
        directory,
        "15",
        settings={
            "ssl": "on",
            "ssl_cert_file": str(certificates.chain),
            "ssl_key_file": str(key),
            "hba_file": str(access),
        },
    )
    ours.start()
    yield ours
    ours.stop()
