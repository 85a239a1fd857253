"""`fsmon-consumer dead-letters`: messages that could not be stored: look at them, store or remove them."""

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from fsmon_schemas import ConfigError, FsmonError
from fsmon_schemas.framing import split_frame

from fsmon_consumer import records
from fsmon_consumer import replay as replaying
from fsmon_consumer.batch import Decoder
from fsmon_consumer.command import configured, connected, reported
from fsmon_consumer.config import duration
from fsmon_consumer.dead_letters import Reason
from fsmon_consumer.migrate import require_current
from fsmon_consumer.options import Config, Dsn, Format, LogLevel, Output, Registry, ReportsTopic
from fsmon_consumer.registry import WriterSchemas
from fsmon_consumer.replay import Letter, Replay, Selection
from fsmon_consumer.store import Database

dead_letters_app = typer.Typer(help="Messages that could not be stored, and why.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="Only these: TOPIC/PARTITION/OFFSET, as list shows.")]
Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="Only those refused for this reason; may be repeated.")
]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", help="Only those of this message key, a host id; may be repeated."),
]
Older = Annotated[str | None, typer.Option(help="Only those stored longer ago than this, as 30d.")]
All = Annotated[bool, typer.Option("--all", help="Every one.")]


@dead_letters_app.command("list")
@reported
def list_letters(
    reason: Reasons = None,
    key: Keys = None,
    older: Older = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the oldest.")] = 100,
    output: Output = Format.TABLE,
    dsn: Dsn = None,
    config: Config = None,
) -> None:
    """Show dead letters, oldest first, and how many there are for each reason."""
    database = _opened(connected(configured(config, dsn=dsn), "dead-letters"))
    letters = replaying.select(database, _selection(None, reason, key, older), limit)
    for each in letters:
        if output is Format.JSON:
            print(json.dumps(_plain(each)))
        else:
            when = f"{each.stored_at:%Y-%m-%d %H:%M:%S}Z"
            print(f"{each.name}  {when}  {each.reason}  {_key(each)}  {each.detail:.200}")
    if output is Format.TABLE:
        counted = Counter(each.reason for each in letters)
        told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counted.items()))
        print(f"{len(letters):,} dead letters{': ' if told else ''}{told}{_more(letters, limit)}")


@dead_letters_app.command("show")
@reported
def show_letter(
    names: Annotated[list[str], typer.Argument(help="TOPIC/PARTITION/OFFSET, as list shows.")],
    dsn: Dsn = None,
    registry: Registry = None,
    config: Config = None,
) -> None:
    """Show all of a dead letter: its bytes, and its content where that can be read now."""
    settings = configured(config, dsn=dsn, registry=registry)
    database = _opened(connected(settings, "dead-letters"))
    letters = _found(replaying.select(database, Selection(names=names)), names)
    schemas = WriterSchemas(settings.registry)
    for each in letters:
        print(
            json.dumps(
                _plain(each) | {"value": (each.value or b"").hex()} | _content(each, schemas), indent=2
            )
        )


@dead_letters_app.command("replay")
@reported
def replay_letters(
    names: Names = None,
    reason: Reasons = None,
    key: Keys = None,
    older: Older = None,
    everything: All = False,
    dsn: Dsn = None,
    registry: Registry = None,
    reports_topic: ReportsTopic = None,
    config: Config = None,
    log_level: LogLevel = None,
) -> None:
    """Store what can be read by now, after the registry or this program was put right; the rest stays."""
    settings = configured(
        config, dsn=dsn, registry=registry, reports_topic=reports_topic, log_level=log_level
    )
    database = _opened(connected(settings, "dead-letters"))
    letters = _chosen(database, names, reason, key, older, everything=everything)
    decoder = Decoder(settings.reports_topic, WriterSchemas(settings.registry).find)
    latest = datetime.now(UTC) + settings.future_limit
    done = Replay(database, decoder, retention=settings.retention, latest=latest).run(letters)
    told = [f"{name} {number:,}" for name, number in asdict(done.tally).items() if number]
    told += [f"still {reason} {number:,}" for reason, number in sorted(done.still.items())]
    print(f"replayed {len(letters):,} dead letters{': ' if told else ''}{', '.join(told)}")


@dead_letters_app.command("purge")
@reported
def purge_letters(
    names: Names = None,
    reason: Reasons = None,
    key: Keys = None,
    older: Older = None,
    everything: All = False,
    dsn: Dsn = None,
    config: Config = None,
) -> None:
    """Remove dead letters for good; the accounts go on counting them as dead."""
    database = _opened(connected(configured(config, dsn=dsn), "dead-letters"))
    letters = _chosen(database, names, reason, key, older, everything=everything)
    print(f"removed {replaying.purge(database, letters):,} dead letters")


def _opened(database: Database) -> Database:
    require_current(database)
    return database


def _selection(
    names: list[str] | None, reasons: list[str] | None, keys: list[str] | None, older: str | None
) -> Selection:
    unknown = sorted(set(reasons or ()) - set(Reason))
    if unknown:
        raise ConfigError(f"--reason: no reason {', '.join(unknown)}; there are {', '.join(Reason)}")
    try:
        before = datetime.now(UTC) - duration(older) if older else None
    except ValueError as error:
        raise ConfigError(f"--older: {error}") from error
    return Selection(names or None, reasons or None, [key.encode() for key in keys or ()] or None, before)


def _chosen(
    database: Database,
    names: list[str] | None,
    reasons: list[str] | None,
    keys: list[str] | None,
    older: str | None,
    *,
    everything: bool,
) -> list[Letter]:
    wanted = _selection(names, reasons, keys, older)
    if wanted == Selection() and not everything:
        raise ConfigError("say which dead letters: by name, --reason, --key, --older, or --all")
    letters = replaying.select(database, wanted)
    return _found(letters, names) if names else letters


def _found(letters: list[Letter], names: list[str]) -> list[Letter]:
    absent = sorted(set(names) - {each.name for each in letters})
    if absent:
        raise FsmonError(f"no dead letter {', '.join(absent)}; see fsmon-consumer dead-letters list")
    return letters


def _content(letter: Letter, schemas: WriterSchemas) -> dict[str, Any]:
    value = letter.value or b""
    try:
        ref, start = split_frame(value)
        content = records.decode(schemas.find(ref), value[start:])
    except FsmonError as error:
        return {"unreadable": str(error)}
    return {"content": json.loads(json.dumps(content, default=_text))}


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _plain(letter: Letter) -> dict[str, Any]:
    plain = {"name": letter.name} | asdict(letter)
    del plain["value"]
    return plain | {"key": _key(letter), "stored_at": letter.stored_at.isoformat()}


def _key(letter: Letter) -> str:
    return "(no key)" if letter.key is None else letter.key.decode("utf-8", "backslashreplace")


def _more(letters: list[Letter], limit: int) -> str:
    return f" (the oldest {limit:,}; there may be more: --limit)" if len(letters) == limit else ""
