"""Apache Kafka 4.3.1 (KRaft) with one broker, or three that replicate to each other."""

import base64
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from local.maven import copy_dependencies, made_once
from local.places import CACHE
from local.ports import listening, ports
from local.process import Process, ServiceError

VERSION = "4.3.1"
_HERE = Path(__file__).parent
_START_SECONDS = 90  # 1.3 s for one node when the machine is idle, 10 s for three; the rest is for busy ones
_STOP_SECONDS = 5  # 0.2 s for one node; the last of three waits for a quorum that is gone: it is killed then

# Test-sized, here as in compose.yaml: no rebalance delay, members noticed and missed within seconds
# (KIP-848's defaults are a heartbeat every 5 s and a session of 45 s), one partition for each internal
# topic, nothing created by a typo. A killed broker may register again only when its old session is over.
SHARED_SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.session.timeout.ms": "2000",
    "group.consumer.session.timeout.ms": "10000",
}


class Kafka:
    """A cluster of ``nodes`` brokers whose data lives in ``directory``; PLAINTEXT on 127.0.0.1.

    ``settings`` are the brokers' own, over ours; ``formatted`` are further arguments for kafka-storage
    format, as ``--add-scram``.
    """

    def __init__(
        self,
        directory: Path,
        nodes: int = 1,
        settings: Mapping[str, str] = MappingProxyType({}),
        formatted: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self._extra, self._formatted = settings, formatted
        chosen = ports(directory, 2 * nodes)
        self._brokers, self._controllers = chosen[:nodes], chosen[nodes:]
        self.nodes = [Process(f"kafka-{number}", directory) for number in range(1, nodes + 1)]

    @property
    def bootstrap(self) -> str:
        """What clients call bootstrap.servers."""
        return ",".join(f"127.0.0.1:{port}" for port in self._brokers)

    @property
    def running(self) -> bool:
        """Whether every node's process runs."""
        return all(node.pid is not None for node in self.nodes)

    def start(self) -> None:
        """Format the data directories if they are new, start all nodes, wait until they answer."""
        jars = libraries()
        self._format(jars)
        heap = "-Xmx512m" if len(self.nodes) == 1 else "-Xmx256m"
        java = _java(jars, heap, f"-XX:SharedArchiveFile={archive()}")
        for index, node in enumerate(self.nodes):
            node.launch([*java, "kafka.Kafka", self._properties(index)])
        for node, port in zip(self.nodes, self._brokers, strict=True):
            node.wait(partial(listening, port), _START_SECONDS)
        self.nodes[0].wait(self._complete, _START_SECONDS)

    def stop(self) -> None:
        """Stop all nodes, the way an operator would: one after the other."""
        for node in self.nodes:
            node.stop(_STOP_SECONDS)

    def _complete(self) -> bool:
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        try:
            return len(client.list_topics(timeout=5).brokers) == len(self.nodes)
        except KafkaException:
            return False

    def _properties(self, index: int) -> Path:
        return self.directory / f"{self.nodes[index].name}.properties"

    def _format(self, jars: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "_")
        for index, node in enumerate(self.nodes):
            data = self.directory / f"{node.name}.data"
            if (data / "meta.properties").exists():
                continue
            settings = self.settings(index) | {"log.dirs": str(data)}
            lines = (f"{name}={value}\n" for name, value in settings.items())
            self._properties(index).write_text("".join(lines))
            format_ = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster]
            configured = ["-c", str(self._properties(index)), *self._formatted]
            _run([*_java(jars, "-Xmx128m"), *format_, *configured])

    def settings(self, index: int) -> dict[str, str]:
        """The server.properties of one node, but for log.dirs."""
        broker, controller = (f"127.0.0.1:{known[index]}" for known in (self._brokers, self._controllers))
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(self._controllers, 1))
        replicas, in_sync = str(len(self.nodes)), str(max(1, len(self.nodes) - 1))
        return SHARED_SETTINGS | {
            "node.id": str(index + 1),
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "num.network.threads": "2",
            "num.io.threads": "2",
            "log.cleaner.dedupe.buffer.size": "16777216",
            **self._extra,
        }


def libraries() -> Path:
    """The directory of the broker's jars, brought by Maven when it is not there yet."""
    pom = _HERE / "pom.xml"
    jars = CACHE / f"kafka-{VERSION}"
    return made_once(jars, lambda draft: copy_dependencies(pom, draft, f"-Dkafka.version={VERSION}"))


def archive() -> Path:
    """The class-data archive that makes starts fast, dumped when it is not there yet."""
    return made_once(CACHE / f"kafka-{VERSION}.jsa", _dump_classes)


def _java(jars: Path, *options: str) -> list[str]:
    # C1 alone and a class-data archive start a broker in 1.3 s instead of 4 (design/stack.md 1).
    return [
        "java", *options, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError",
        f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}",
        "-cp", ":".join(str(jar) for jar in sorted(jars.glob("*.jar"))),
    ]  # fmt: skip


def _dump_classes(target: Path) -> None:
    """Write the class-data archive of one short broker life to ``target``."""
    scratch = Kafka(target.with_name(f"{target.name}.scratch"))
    jars = libraries()
    scratch._format(jars)
    node = scratch.nodes[0]
    java = _java(jars, f"-XX:ArchiveClassesAtExit={target}")
    node.launch([*java, "kafka.Kafka", scratch._properties(0)])
    node.wait(scratch._complete, _START_SECONDS)
    node.stop(_START_SECONDS)
    shutil.rmtree(scratch.directory)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
