"""The command line of the consumer side: options in, exit codes out (0 done, 1 failed, 2 configuration)."""

import logging
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from fsmon_consumer import partitions as upkeep
from fsmon_consumer import worker
from fsmon_consumer.config import ConsumerConfig, load_config
from fsmon_consumer.migrate import migrate as apply_migrations
from fsmon_consumer.migrate import require_current
from fsmon_consumer.store import Database
from fsmon_schemas import FsmonError

app = typer.Typer(
    help="Stores fsmon's file events in PostgreSQL, each once, and proves that none is missing.\n\n"
    "Every option can also be given as FSMON_<OPTION> in the environment or as <option> in a TOML file; "
    "the command line wins over the environment, the environment over the file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
partitions_app = typer.Typer(help="The hourly partitions of file_events.", no_args_is_help=True)
app.add_typer(partitions_app, name="partitions")

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


def _reported(command: Callable[..., None]) -> Callable[..., None]:
    """Errors made on purpose become one line on stderr and their exit code."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 - typer fills them in
        try:
            command(*arguments, **options)
        except FsmonError as error:
            print(f"fsmon-consumer: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from error

    return run


def _settings(config: Path | None, **flags: object) -> ConsumerConfig:
    settings = load_config(flags, file=config)
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    return settings


def _database(settings: ConsumerConfig, role: str) -> Database:
    database = Database(settings.dsn, role=role)
    database.connect()
    return database


@app.command()
@_reported
def migrate(dsn: Dsn = None, config: Config = None, log_level: LogLevel = None) -> None:
    """Make or update the database's schema; safe to run again."""
    settings = _settings(config, dsn=dsn, log_level=log_level)
    applied = apply_migrations(_database(settings, "migrate"))
    for each in applied:
        print(f"applied {each.number:04}_{each.name}")
    if not applied:
        print("the schema is up to date")


@app.command()
@_reported
def run(
    dsn: Dsn = None,
    bootstrap_servers: Bootstrap = None,
    topic: Topic = None,
    reports_topic: ReportsTopic = None,
    group: Group = None,
    group_protocol: GroupProtocol = None,
    registry: Registry = None,
    kafka: Kafka = None,
    batch_rows: Annotated[int | None, typer.Option(help="Most rows of one transaction (50000).")] = None,
    linger: Annotated[str | None, typer.Option(help="Longest wait for more rows, as 100ms.")] = None,
    retention: Annotated[
        str | None, typer.Option(help="Age at which partitions are dropped and late events expire (30d).")
    ] = None,
    future_limit: Annotated[
        str | None, typer.Option(help="Events further ahead of this clock are refused (1d).")
    ] = None,
    partitions_ahead: Annotated[int | None, typer.Option(help="Hours of partitions made ahead (6).")] = None,
    takeover_after: Annotated[
        str | None, typer.Option(help="A worker holding a partition's lock that long is cut off (5s).")
    ] = None,
    config: Config = None,
    log_level: LogLevel = None,
) -> None:
    """Store events until SIGTERM or Ctrl-C. Run as many as there are cores; the group shares the work."""
    flags = {name: value for name, value in locals().items() if name != "config"}
    consumer = worker.Worker(_settings(config, **flags))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: consumer.stop())
    consumer.run()


@partitions_app.command("list")
@_reported
def list_partitions(dsn: Dsn = None, config: Config = None) -> None:
    """Show the partitions, oldest first; row counts are PostgreSQL's estimates."""
    database = _database(_settings(config, dsn=dsn), "partitions")
    require_current(database)
    for each in upkeep.list_partitions(database):
        state = "  (half detached)" if each.detaching else ""
        print(
            f"{each.name}  {each.start:%Y-%m-%d %H:%M}Z  {each.rows:>12,} rows  {each.size / 1e6:>10,.1f} MB{state}"
        )


@partitions_app.command("create")
@_reported
def create_partitions(
    ahead: Annotated[int | None, typer.Option(help="Hours from now on (6).")] = None,
    dsn: Dsn = None,
    config: Config = None,
) -> None:
    """Make the partitions of the coming hours."""
    settings = _settings(config, dsn=dsn, partitions_ahead=ahead)
    database = _database(settings, "partitions")
    require_current(database)
    made = upkeep.create_ahead(database, settings.partitions_ahead)
    print(f"made {len(made)} partitions")


@partitions_app.command("retire")
@_reported
def retire_partitions(
    retention: Annotated[str | None, typer.Option(help="Drop what ended longer ago than this (30d).")] = None,
    dsn: Dsn = None,
    config: Config = None,
) -> None:
    """Drop the partitions past retention, without blocking readers or writers."""
    settings = _settings(config, dsn=dsn, retention=retention)
    database = _database(settings, "partitions")
    require_current(database)
    for each in upkeep.retire_past(database, settings.retention):
        print(f"dropped {each.name}")


def main() -> None:
    """Entry point of the script ``fsmon-consumer``."""
    app()
