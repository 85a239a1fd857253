"""`fsmon-consumer partitions`: the hours of file_events by hand; `run` looks after them by itself."""

from typing import Annotated

import typer

from fsmon_consumer import partitions as upkeep
from fsmon_consumer.command import configured, connected, reported
from fsmon_consumer.migrate import require_current
from fsmon_consumer.options import Config, Dsn

partitions_app = typer.Typer(help="The hourly partitions of file_events.", no_args_is_help=True)


@partitions_app.command("list")
@reported
def list_partitions(dsn: Dsn = None, config: Config = None) -> None:
    """Show the partitions, oldest first; row counts are PostgreSQL's estimates."""
    database = connected(configured(config, dsn=dsn), "partitions")
    require_current(database)
    for each in upkeep.list_partitions(database):
        size, state = each.size / 1e6, "  (half detached)" if each.detaching else ""
        print(f"{each.name}  {each.start:%Y-%m-%d %H:%M}Z  {each.rows:>12,} rows  {size:>9,.1f} MB{state}")


@partitions_app.command("create")
@reported
def create_partitions(
    ahead: Annotated[int | None, typer.Option(min=1, help="Hours from now on (6).")] = None,
    dsn: Dsn = None,
    config: Config = None,
) -> None:
    """Make the partitions of the coming hours."""
    settings = configured(config, dsn=dsn, partitions_ahead=ahead)
    database = connected(settings, "partitions")
    require_current(database)
    made = upkeep.create_ahead(database, settings.partitions_ahead)
    print(f"made {len(made)} partitions")


@partitions_app.command("retire")
@reported
def retire_partitions(
    retention: Annotated[str | None, typer.Option(help="Drop what ended longer ago than this (30d).")] = None,
    dsn: Dsn = None,
    config: Config = None,
) -> None:
    """Drop the partitions past retention, without blocking readers or writers."""
    settings = configured(config, dsn=dsn, retention=retention)
    database = connected(settings, "partitions")
    require_current(database)
    for each in upkeep.retire_past(database, settings.retention):
        print(f"dropped {each.name}")
