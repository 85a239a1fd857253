"""The command line of the consumer side: options in, exit codes out (0 done, 1 failed, 2 configuration)."""

import faulthandler
import json
import os
import signal
import sys
import threading
from itertools import takewhile
from typing import Annotated

import typer
from fsmon_schemas import ConfigError
from fsmon_schemas.command_line import refuse_secrets

from fsmon_consumer import audit as auditing
from fsmon_consumer import tail as tailing
from fsmon_consumer import worker
from fsmon_consumer.audit_table import audit_table
from fsmon_consumer.cluster import Cluster
from fsmon_consumer.command import configured, connected, reported
from fsmon_consumer.dead_letters_cli import dead_letters_app
from fsmon_consumer.migrate import migrate as apply_migrations
from fsmon_consumer.migrate import require_current
from fsmon_consumer.options import (
    Bootstrap,
    Config,
    Dsn,
    Format,
    Group,
    GroupProtocol,
    Kafka,
    LogLevel,
    Output,
    Registry,
    ReportsTopic,
    Topic,
)
from fsmon_consumer.partitions_cli import partitions_app
from fsmon_consumer.registry import WriterSchemas
from fsmon_consumer.source import follow

app = typer.Typer(
    help="Stores fsmon's file events in PostgreSQL, each once, and proves that none is missing.\n\n"
    "Every option can also be given as FSMON_<OPTION> in the environment or as <option> in a TOML file; "
    "the command line wins over the environment, the environment over the file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(partitions_app, name="partitions")
app.add_typer(dead_letters_app, name="dead-letters")


@app.command()
@reported
def migrate(dsn: Dsn = None, config: Config = None, log_level: LogLevel = None) -> None:
    """Make or update the database's schema; safe to run again."""
    settings = configured(config, dsn=dsn, log_level=log_level)
    applied = apply_migrations(connected(settings, "migrate"))
    for each in applied:
        print(f"applied {each.number:04}_{each.name}")
    if not applied:
        print("the schema is up to date")


@app.command()
@reported
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
    pause_after: Annotated[
        int | None,
        typer.Option(
            help="So many messages in a row that one schema cannot read pause their partition (100)."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Serve figures for Prometheus on [HOST:]PORT, at /metrics (off; 127.0.0.1)."),
    ] = None,
    config: Config = None,
    log_level: LogLevel = None,
) -> None:
    """Store events until SIGTERM or Ctrl-C. Run as many as there are cores; the group shares the work."""
    flags = {name: value for name, value in locals().items() if name != "config"}
    consumer = worker.Worker(configured(config, **flags))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: consumer.stop())
    consumer.run()


@app.command()
@reported
def audit(
    settle: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Wait up to so many seconds until nothing is under way (asks Kafka); exit code 1 if "
            "something still is then: its account is not closed, and proves nothing.",
        ),
    ] = None,
    output: Output = Format.TABLE,
    dsn: Dsn = None,
    bootstrap_servers: Bootstrap = None,
    topic: Topic = None,
    reports_topic: ReportsTopic = None,
    kafka: Kafka = None,
    config: Config = None,
    log_level: LogLevel = None,
) -> None:
    """Account for every captured event.

    Exit code 1 if one is unaccounted for or could not be told, and with --settle if one is still under way.
    """
    settings = configured(
        config,
        dsn=dsn,
        bootstrap_servers=bootstrap_servers,
        topic=topic,
        reports_topic=reports_topic,
        kafka=kafka,
        log_level=log_level,
    )
    database = connected(settings, "audit")
    require_current(database)
    topics = [settings.topic, settings.reports_topic]
    cluster = Cluster(settings)
    if settle is not None or not auditing.has_read(database, topics):
        cluster.require(topics)  # of a topic that is not there, nothing would be missing
    if settle is None:
        found = auditing.audit(database, settings.topic)
    else:
        ends = cluster.end_offsets(topics)
        found = auditing.settle(
            database,
            settings.topic,
            settle,
            lambda stored: sum(max(0, end - stored.get(place, 0)) for place, end in ends.items()),
        )
    if output is Format.JSON:
        print(json.dumps(found.as_json(), indent=2))
    else:
        for line in audit_table(found, settled_within=settle):
            print(line)
    if not found.complete or (settle is not None and not found.settled):
        raise typer.Exit(1)


@app.command()
@reported
def tail(
    host: Annotated[list[str] | None, typer.Option(help="Only this host id; may be repeated.")] = None,
    op: Annotated[list[str] | None, typer.Option(help="Only this operation; may be repeated.")] = None,
    path: Annotated[
        list[str] | None, typer.Option(help="Only this file, all below this directory, or a quoted glob.")
    ] = None,
    comm: Annotated[list[str] | None, typer.Option(help="Only processes of this name.")] = None,
    pid: Annotated[list[int] | None, typer.Option(help="Only this process.")] = None,
    from_beginning: Annotated[
        bool, typer.Option(help="All that the topic holds, not only what comes now.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    output: Output = Format.TABLE,
    bootstrap_servers: Bootstrap = None,
    topic: Topic = None,
    registry: Registry = None,
    kafka: Kafka = None,
    config: Config = None,
    log_level: LogLevel = None,
) -> None:
    """Watch events as they pass through Kafka, without a database. Ctrl-C ends it."""
    settings = configured(
        config,
        bootstrap_servers=bootstrap_servers,
        topic=topic,
        registry=registry,
        kafka=kafka,
        log_level=log_level,
    )
    filters = tailing.Filters(
        frozenset(host or ()),
        frozenset(op or ()),
        tuple(path or ()),
        frozenset(comm or ()),
        frozenset(pid or ()),
    )
    left = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: left.set())
    table = tailing.Table(colour=sys.stdout.isatty())
    if output is Format.TABLE:
        print(table.header(), flush=True)
    values = follow(settings, from_beginning=from_beginning)
    messages = (value for value in takewhile(lambda _: not left.is_set(), values) if value is not None)
    shown = 0
    try:
        for event in tailing.events(messages, WriterSchemas(settings.registry).find, _complain):
            if filters.match(event):
                print(tailing.as_json(event) if output is Format.JSON else table.line(event), flush=True)
                shown += 1
                if shown == limit:
                    break
    except BrokenPipeError:  # a reader that went away, as in `tail | head`, is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        values.close()


def _complain(text: str) -> None:
    print(f"fsmon-consumer: left out {text}", file=sys.stderr)


def main() -> None:
    """Entry point of the script ``fsmon-consumer``; SIGUSR1 makes any command say where it is."""
    faulthandler.register(signal.SIGUSR1)
    try:
        refuse_secrets(sys.argv[1:])
    except ConfigError as error:
        print(f"fsmon-consumer: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    app()
