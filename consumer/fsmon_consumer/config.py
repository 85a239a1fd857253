"""The consumer's settings: flag, else environment, else TOML file, else default.

One frozen object is made at the start and passed down; nothing else reads the environment.
A setting that is given nowhere is never passed on, so libpq's PG* variables and librdkafka's
defaults keep working. Values that may hold a secret (``dsn``, ``registry``, ``kafka``) stand in
no repr.
"""

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fsmon_schemas import ConfigError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PROTOCOLS = ("auto", "consumer", "classic")
_LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class ConsumerConfig:
    """Everything that can be set; durations are timedeltas, sizes are counts of rows."""

    bootstrap_servers: str = "127.0.0.1:9092"
    topic: str = "fsmon.file-events"
    reports_topic: str = "fsmon.capture-reports"
    group: str = "fsmon"
    group_protocol: str = "auto"
    registry: str | None = field(default=None, repr=False)
    dsn: str = field(default="", repr=False)
    kafka: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    batch_rows: int = 50_000
    linger: timedelta = timedelta(milliseconds=100)
    retention: timedelta = timedelta(days=30)
    future_limit: timedelta = timedelta(days=1)
    partitions_ahead: int = 6
    takeover_after: timedelta = timedelta(seconds=5)
    pause_after: int = 100
    metrics: tuple[str, int] | None = None  # host, port
    log_level: str = "info"


def load_config(
    flags: Mapping[str, Any], *, file: Path | None = None, environ: Mapping[str, str] | None = None
) -> ConsumerConfig:
    """Lay the four sources over each other.

    ``flags`` holds what the command line gave, with None for what it did not. The file is
    ``file``, else FSMON_CONFIG. Raises ConfigError naming the setting, where it came from, and
    for an unknown name the nearest one that exists.
    """
    environ = os.environ if environ is None else environ
    path = file or (Path(environ["FSMON_CONFIG"]) if environ.get("FSMON_CONFIG") else None)
    merged: dict[str, Any] = {}
    kafka: dict[str, str] = {}
    for source, settings in (
        (str(path), _read_file(path)),
        ("environment", _read_environment(environ)),
        ("command line", {name: value for name, value in flags.items() if value is not None}),
    ):
        for name, value in settings.items():
            converted = _convert(name, value, source)
            if name == "kafka":
                kafka |= converted
            else:
                merged[name] = converted
    return ConsumerConfig(**merged, kafka=MappingProxyType(kafka))


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"the configuration file {path} is not TOML: {error}") from error
    for name in settings:
        if name not in _CONVERTERS:
            raise ConfigError(f"{path}: unknown setting {name!r}{_nearest(name, _CONVERTERS)}")
    return settings


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name in _CONVERTERS:
        value = environ.get(f"FSMON_{name.upper()}")
        if value:
            found[name] = value
    return found


def _nearest(name: str, valid: Mapping[str, object]) -> str:
    matches = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if matches:
        return f"; did you mean {matches[0]!r}?"
    return f"; known settings: {', '.join(sorted(valid))}"


def _convert(name: str, value: Any, source: str) -> Any:
    try:
        return _CONVERTERS[name](value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{source}: bad value for {name}: {error}") from error


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected text that is not empty")
    return value.strip()


def _one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    def convert(value: object) -> str:
        chosen = _text(value).lower()
        if chosen not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return chosen

    return convert


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{value!r} is no whole number")
    number = int(value)
    if number < 1:
        raise ValueError(f"{number} is below 1")
    return number


def duration(value: object) -> timedelta:
    """A length of time as people write it, 500ms to 30d, or in seconds; TypeError or ValueError else."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"{value!r} is no duration")
    if isinstance(value, int | float):
        seconds = float(value)
    else:
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is no duration; write 500ms, 30s, 10m, 12h or 30d")
        seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds <= 0:
        raise ValueError(f"{value!r} is not above 0")
    return timedelta(seconds=seconds)


def _address(value: object) -> tuple[str, int]:
    host, _, port = str(value).rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{value!r} is neither PORT nor HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _pairs(value: object) -> dict[str, str]:
    """A TOML table, KEY=VALUE items, or one text of such items in shell quoting."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        value = shlex.split(value)
    if not isinstance(value, list | tuple):
        raise TypeError("expected KEY=VALUE")
    pairs = {}
    for item in value:
        key, equals, text = str(item).partition("=")
        if not equals or not key.strip():
            # The text is left out: it may be a secret.
            raise ValueError("expected KEY=VALUE, as in security.protocol=SASL_SSL")
        pairs[key.strip()] = text
    return pairs


def _plain(item: object) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    return str(item)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "bootstrap_servers": _text,
    "topic": _text,
    "reports_topic": _text,
    "group": _text,
    "group_protocol": _one_of(_PROTOCOLS),
    "registry": _text,
    "dsn": _text,
    "kafka": _pairs,
    "batch_rows": _count,
    "linger": duration,
    "retention": duration,
    "future_limit": duration,
    "partitions_ahead": _count,
    "takeover_after": duration,
    "pause_after": _count,
    "metrics": _address,
    "log_level": _one_of(_LOG_LEVELS),
}
assert set(_CONVERTERS) == {item.name for item in fields(ConsumerConfig)}
