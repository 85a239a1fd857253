"""What every command does: reads its settings, connects, and turns our errors into exit codes."""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer
from fsmon_schemas import FsmonError

from fsmon_consumer.config import ConsumerConfig, load_config
from fsmon_consumer.store import Database


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Errors made on purpose become one line on stderr and their exit code."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except FsmonError as error:
            typer.echo(f"fsmon-consumer: {error}", err=True)
            raise typer.Exit(error.exit_code) from error

    return run


def configured(config: Path | None, **flags: object) -> ConsumerConfig:
    """The settings, of which ``flags`` come from the command line; logging begins."""
    settings = load_config(flags, file=config)
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    return settings


def connected(settings: ConsumerConfig, role: str) -> Database:
    """The database, open; ``role`` shows in pg_stat_activity."""
    database = Database(settings.dsn, role=role)
    database.connect()
    return database
