"""The command line's options, each with its environment variable and help."""

from pathlib import Path
from typing import Annotated

import typer

from fsmon_producer.config import (
    BACKENDS,
    CONTROL,
    EVENTS_TOPIC,
    LOG_LEVELS,
    OPERATIONS,
    REPORTS_TOPIC,
    SPOOL_FULL,
    STATE_DIR,
)

EPILOG = (
    "A flag beats its environment variable, that beats the file given with --config (TOML: names with _ "
    "for -, lists as lists, Kafka settings in a table [kafka]). Passwords belong in the file or the "
    "environment: a command line is visible to everybody on the host."
)

Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        metavar="HOST:PORT,…",
        envvar="FSMON_BOOTSTRAP_SERVERS",
        help="Kafka brokers to ask first.",
    ),
]
Topic = Annotated[
    str | None, typer.Option(envvar="FSMON_TOPIC", help=f"Topic of events. Default: {EVENTS_TOPIC}.")
]
ReportsTopic = Annotated[
    str | None,
    typer.Option(envvar="FSMON_REPORTS_TOPIC", help=f"Topic of capture reports. Default: {REPORTS_TOPIC}."),
]
Registry = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="FSMON_REGISTRY",
        help="Schema registry with Confluent's API; without one messages name their schema by fingerprint.",
    ),
]
Kafka = Annotated[
    list[str] | None,
    typer.Option(
        "--kafka",
        metavar="KEY=VALUE",
        help="A librdkafka setting, as security.protocol=SASL_SSL; repeatable. In the environment: "
        "FSMON_KAFKA, separated by spaces, quoted as in a shell.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", envvar="FSMON_CONFIG", help="Settings from a file."),
]
LogLevel = Annotated[
    str | None,
    typer.Option(envvar="FSMON_LOG_LEVEL", help=f"One of {', '.join(LOG_LEVELS)}. Default: info."),
]
Watch = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        envvar="FSMON_WATCH",
        help="A directory with all below it, or one file; repeatable (colon-separated in the environment).",
    ),
]
Exclude = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", envvar="FSMON_EXCLUDE", help="What inside not to watch; repeatable."),
]
Op = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OP",
        envvar="FSMON_OP",
        help=f"Only this operation; repeatable. Default: all of {', '.join(OPERATIONS)}.",
    ),
]
IgnorePid = Annotated[
    list[int] | None,
    typer.Option(
        metavar="PID",
        envvar="FSMON_IGNORE_PID",
        help="A process whose operations are not captured; repeatable.",
    ),
]
HostId = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        envvar="FSMON_HOST_ID",
        help="This host's name in events, also the Kafka key. Default: derived from /etc/machine-id.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        metavar="- | FILE.avro",
        envvar="FSMON_OUTPUT",
        help="Without Kafka: JSON lines on standard output, or a new Avro container file.",
    ),
]
RingSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        envvar="FSMON_RING_SIZE",
        help="What is kept while Kafka is away: a power of two. Default: 64M.",
    ),
]
Backend = Annotated[
    str | None, typer.Option(envvar="FSMON_BACKEND", help=f"One of {', '.join(BACKENDS)}. Default: auto.")
]
ReportInterval = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        envvar="FSMON_REPORT_INTERVAL",
        help="Time between capture reports. Default: 5.",
    ),
]
DrainTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        envvar="FSMON_DRAIN_TIMEOUT",
        help="How long to deliver what is left when told to stop. Default: 10.",
    ),
]
Control = Annotated[
    Path | None,
    typer.Option(
        metavar="SOCKET",
        envvar="FSMON_CONTROL",
        help=f"Where `fsmon-producer filter` reaches this producer; one socket each. Default: {CONTROL}.",
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        envvar="FSMON_METRICS",
        help="Serve figures for Prometheus there, at /metrics. Default: not at all; host: 127.0.0.1.",
    ),
]
StateDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIRECTORY",
        envvar="FSMON_STATE_DIR",
        help=f"What outlives the process, ours alone (0700); one producer each. Default: {STATE_DIR}. With "
        "--output nothing is kept.",
    ),
]
Bpffs = Annotated[
    Path | None,
    typer.Option(
        metavar="DIRECTORY",
        envvar="FSMON_BPFFS",
        help="Where programs, maps and ring are pinned: on a bpffs, or one is mounted there. "
        "Default: bpf in the state directory.",
    ),
]
SpoolSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        envvar="FSMON_SPOOL_SIZE",
        help="What a session may keep on disk, in the state directory, while Kafka is away and the ring is "
        "filling; 0: nothing. Default: 1G.",
    ),
]
SpoolFull = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(SPOOL_FULL),
        envvar="FSMON_SPOOL_FULL",
        help="When the spool is full: stop reading, so that the ring fills and the kernel drops and counts "
        "the newest events, or drop the oldest spooled events and declare which. Default: stop.",
    ),
]
Partitions = Annotated[
    int, typer.Option(min=1, help="Partitions of the topic of events; a host's session stays in one.")
]
ReplicationFactor = Annotated[
    int | None, typer.Option(min=1, help="Copies of each partition. Default: 3, or as many as brokers.")
]
