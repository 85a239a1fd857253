"""compose.yaml, for people with Docker, is the same stack as compose/local."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from local import kafka, registry

_COMPOSE = Path(__file__).resolve().parents[2] / "compose"
_FILE = _COMPOSE / "compose.yaml"
_KNOWN = {"build", "command", "configs", "depends_on", "deploy", "environment", "healthcheck", "image"} | {
    "pid", "ports", "privileged", "restart", "stop_grace_period", "stop_signal", "volumes",
}  # fmt: skip


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    stack: dict[str, Any] = yaml.safe_load(_FILE.read_text())
    services: dict[str, Any] = stack["services"]
    volumes = {name.partition(":")[0] for service in services.values() for name in service.get("volumes", [])}
    assert set(stack["volumes"]) == {name for name in volumes if name.isalpha()}
    return services


def test_docker_accepts_it_where_docker_is() -> None:
    """`docker compose config` where the client has it; the tests below hold the structure anywhere."""
    if shutil.which("docker") is None:
        pytest.skip("no docker here")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("docker has no compose here")
    done = subprocess.run(
        ["docker", "compose", "-f", _FILE, "config", "--quiet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_its_services_are_whole(services: dict[str, Any]) -> None:
    assert set(services) == {"kafka", "registry", "postgres", "prepare", "producer", "consumer"}
    for name, service in services.items():
        assert set(service) <= _KNOWN, name
        assert ("image" in service) != ("build" in service), name
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], (name, needed)
            else:
                assert how["condition"] == "service_completed_successfully"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} would listen to the network"


def test_the_producer_can_see_the_host(services: dict[str, Any]) -> None:
    producer = services["producer"]
    assert producer["privileged"] is True
    assert producer["pid"] == "host"
    assert "/sys:/sys" in producer["volumes"]
    assert producer["stop_signal"] == "SIGINT"  # pins end with the container


def test_the_producers_spool_outlives_its_container(services: dict[str, Any]) -> None:
    producer = services["producer"]
    kept = {volume.split(":")[1] for volume in producer["volumes"] if volume.startswith("spool:")}
    # Not the volume itself: Docker makes that one readable by all, which the producer refuses.
    assert str(Path(producer["environment"]["FSMON_STATE_DIR"]).parent) in kept


def test_versions_are_those_of_the_local_services(services: dict[str, Any]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{kafka.VERSION}"
    assert services["registry"]["image"].endswith(f":{registry.VERSION}")
    assert services["postgres"]["image"] == "postgres:18"


def test_the_broker_has_the_local_brokers_settings(services: dict[str, Any]) -> None:
    environment = {name: str(value) for name, value in services["kafka"]["environment"].items()}
    differing = {}
    for name, value in kafka.SHARED_SETTINGS.items():
        variable = f"KAFKA_{name.upper().replace('.', '_')}"
        if environment.get(variable) != value:
            differing[name] = (value, environment.get(variable))
    assert differing == {}


def test_the_dockerfile_copies_what_exists() -> None:
    lines = (_COMPOSE / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert [word for word in copied if not (_COMPOSE.parent / word).exists()] == []
