"""Apicurio Registry 2.6.13.Final, spoken to through its Confluent-compatible API."""

import urllib.error
import urllib.request
from pathlib import Path

from local.maven import made_once, unpack
from local.places import CACHE
from local.ports import ports
from local.process import Process

VERSION = "2.6.13.Final"
_ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
_START_SECONDS = 90  # 3.5 s when the machine is idle
_STOP_SECONDS = 10


class Registry:
    """A schema registry on 127.0.0.1 that keeps its schemas in a file below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (self._port,) = ports(directory, 1)
        self.process = Process("registry", directory)

    @property
    def url(self) -> str:
        """Base URL for Confluent-compatible clients."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.process.pid is not None

    def start(self) -> None:
        """Start it and wait until it lists its subjects."""
        command = [
            "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self._port}",
            f"-Dquarkus.datasource.jdbc.url=jdbc:h2:file:{self._directory / 'schemas'}",
            "-jar", str(distribution() / f"apicurio-registry-app-{VERSION}-runner.jar"),
        ]  # fmt: skip
        self.process.launch(command)
        self.process.wait(self._answers, _START_SECONDS)

    def stop(self) -> None:
        """Stop it; its schemas and their ids stay."""
        self.process.stop(_STOP_SECONDS)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def distribution() -> Path:
    """The unpacked registry, brought by Maven when it is not there yet."""
    return made_once(CACHE / f"apicurio-{VERSION}", lambda draft: unpack(_ARTIFACT, draft))
