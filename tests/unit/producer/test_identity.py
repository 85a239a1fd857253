import subprocess
import uuid
from pathlib import Path

import pytest
from fsmon_producer.identity import derived_host_id, machine_app_specific, new_session
from fsmon_producer.partitioner import partition_of
from fsmon_schemas.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st


def test_a_host_id_is_derived_as_systemd_derives_ids() -> None:
    """Numbers made with systemd 252: systemd-id128 machine-id --app-specific=…"""
    application = uuid.UUID("6e2d7c3f-0b1a-4c67-9a55-f3d1e04b8a92")
    command = ["systemd-id128", "machine-id", f"--app-specific={application.hex}"]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    machine = uuid.UUID(Path("/etc/machine-id").read_text().strip())
    assert machine_app_specific(machine, application).hex == theirs
    assert derived_host_id(Path("/etc/machine-id")) == theirs


def test_the_host_id_is_stable_and_does_not_tell_the_machine_id(tmp_path: Path) -> None:
    file = tmp_path / "machine-id"
    file.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    assert derived_host_id(file) == "e0670ac2ff754aff95c32c07ce79c575"


@pytest.mark.parametrize("text", ["", "uninitialized\n", "123\n"])
def test_no_machine_id_is_told_with_the_remedy(tmp_path: Path, text: str) -> None:
    file = tmp_path / "machine-id"
    with pytest.raises(ConfigError, match="--host-id"):
        derived_host_id(file)
    file.write_text(text)
    with pytest.raises(ConfigError, match="--host-id"):
        derived_host_id(file)


def test_sessions_differ_and_fit_a_long() -> None:
    sessions = [new_session("given") for _ in range(100)]
    assert {session.host_id for session in sessions} == {"given"}
    assert len({session.id for session in sessions}) == 100
    assert all(0 <= session.id < 2**63 for session in sessions)


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [
        # Apache Kafka, clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_partition_is_the_one_javas_client_chooses(key: bytes, murmur2: int) -> None:
    for partitions in (1, 7, 2**31 - 1):
        assert partition_of(key, partitions) == (murmur2 & 0x7FFFFFFF) % partitions


@given(st.binary(max_size=40), st.integers(1, 1000))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
