"""The options that several commands share, as typer wants them described."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_POSTGRES, _KAFKA, _GENERAL = "PostgreSQL", "Kafka", "General"
Dsn = Annotated[
    str | None,
    typer.Option(
        help="libpq connection string or URL; without it the PG* variables hold.", rich_help_panel=_POSTGRES
    ),
]
Bootstrap = Annotated[
    str | None, typer.Option(help="Kafka brokers, host:port,… (127.0.0.1:9092).", rich_help_panel=_KAFKA)
]
Topic = Annotated[
    str | None, typer.Option(help="Topic of events (fsmon.file-events).", rich_help_panel=_KAFKA)
]
ReportsTopic = Annotated[
    str | None, typer.Option(help="Topic of capture reports (fsmon.capture-reports).", rich_help_panel=_KAFKA)
]
Group = Annotated[
    str | None,
    typer.Option(help="Consumer group; one group fills one database (fsmon).", rich_help_panel=_KAFKA),
]
GroupProtocol = Annotated[
    str | None,
    typer.Option(
        help="auto: 'consumer' (KIP-848) where the broker offers it, else 'classic'.", rich_help_panel=_KAFKA
    ),
]
Registry = Annotated[
    str | None,
    typer.Option(help="Schema registry, http(s)://[user:password@]host:port/path.", rich_help_panel=_KAFKA),
]
Kafka = Annotated[
    list[str] | None,
    typer.Option(help="Any librdkafka setting, KEY=VALUE; may be repeated.", rich_help_panel=_KAFKA),
]
Config = Annotated[
    Path | None, typer.Option(help="TOML file with any of these options.", rich_help_panel=_GENERAL)
]
LogLevel = Annotated[
    str | None, typer.Option(help="debug, info, warning or error (info).", rich_help_panel=_GENERAL)
]


class Format(StrEnum):
    """How a command prints."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[Format, typer.Option("--format", help="A table to read, or JSON for programs.")]
