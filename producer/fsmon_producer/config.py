"""One frozen configuration: flag > environment FSMON_* > TOML file > default.

The command line gives flags and environment; this module adds the file, checks everything and
says what is wrong in words. Secrets never show in repr.
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fsmon_bpf import backends
from fsmon_schemas.errors import ConfigError
from fsmon_schemas.schema import FILE_EVENT

EVENTS_TOPIC = "fsmon.file-events"
REPORTS_TOPIC = "fsmon.capture-reports"
CONTROL = Path("/run/fsmon/producer.sock")
STATE_DIR = Path("/var/lib/fsmon")
BACKENDS = ("auto", *backends.BACKENDS)
DROP_OLDEST = "drop-oldest"
SPOOL_FULL = ("stop", DROP_OLDEST)
LOG_LEVELS = ("debug", "info", "warning", "error")
# What a backend can report, in the order of the schema, which names more for the backends to come.
OPERATIONS = tuple(
    symbol
    for declared in FILE_EVENT.declared["fields"]
    if declared["name"] == "op"
    for symbol in declared["type"]["symbols"]
    if any(symbol in backend.operations for backend in backends.BACKENDS.values())
)
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_PAGE = 4096


@dataclass(frozen=True)
class Config:
    """What ``fsmon-producer run`` does. Times in seconds, sizes in bytes."""

    watch: tuple[Path, ...] = ()
    exclude: tuple[Path, ...] = ()
    op: frozenset[str] = frozenset()  # empty: all
    ignore_pid: tuple[int, ...] = ()
    bootstrap_servers: str | None = None
    topic: str = EVENTS_TOPIC
    reports_topic: str = REPORTS_TOPIC
    registry: str | None = field(default=None, repr=False)  # may hold user:password@
    host_id: str | None = None
    output: str | None = None  # "-" or the path of an Avro file; else Kafka
    ring_size: int = 64 << 20
    backend: str = "auto"
    report_interval: float = 5.0
    drain_timeout: float = 10.0
    kafka: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold passwords
    log_level: str = "info"
    control: Path | None = None  # CONTROL, if that is free
    metrics: tuple[str, int] | None = None  # host, port
    state_dir: Path = STATE_DIR
    bpffs: Path | None = None  # state_dir/bpf
    spool_size: int = 1 << 30  # 0: none
    spool_full: str = "stop"


def resolve(given: Mapping[str, Any], file: Path | None) -> Config:
    """Merge what was given (None and empty: not given) over the file's values; check all.

    ``kafka`` is merged key by key. ConfigError names the option and what it should be.
    """
    config = Config(**_checked(_read(file) if file else {}))
    over = _checked({name: value for name, value in given.items() if value not in (None, (), [])})
    if "kafka" in over:
        over["kafka"] = {**config.kafka, **over["kafka"]}
    config = replace(config, **over)
    if config.report_interval <= 0:
        raise ConfigError("report_interval: should be above 0: reports are what proves completeness")
    if config.spool_full == DROP_OLDEST and not config.spool_size:
        raise ConfigError("spool_full: drop-oldest needs a spool: give --spool-size above 0")
    return config


def check_runnable(config: Config) -> None:
    """ConfigError where there is nothing to watch, or nowhere to send it."""
    if not config.watch:
        raise ConfigError("nothing to watch: give --watch PATH, a directory (with all below it) or a file")
    if config.output is None and config.bootstrap_servers is None:
        raise ConfigError("nowhere to send events: give --bootstrap-servers HOST:PORT, or --output -")


def _read(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"--config {file}: {error}") from error
    known = [option.name for option in fields(Config)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name.replace("-", "_"), known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"--config {file}: there is no setting {name!r}: {hint}")
    return values


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in values.items():
        try:
            check: Callable[[Any], Any] = _CHECKS.get(name, _text)
            checked[name] = check(value)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{name}: {error}") from error
    return checked


def _list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str | int | Path) else list(value)


def _paths(value: Any) -> tuple[Path, ...]:
    return tuple(Path(path).absolute() for path in _list(value))


def _path(value: Any) -> Path:
    return Path(value).absolute()


def _plain_path(value: Any) -> Path:
    path = Path(value).absolute()
    if set(str(path)) & set('"\\\n'):
        raise ValueError(f"{value!r} should have no quotes, backslashes or line ends: it stands in a program")
    return path


def _address(value: Any) -> tuple[str, int]:
    host, _, port = str(value).rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{value!r} should be PORT or HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _operations(value: Any) -> frozenset[str]:
    wanted = frozenset(str(op) for op in _list(value))
    for op in sorted(wanted - set(OPERATIONS)):
        raise ValueError(f"there is no operation {op!r}; there are {', '.join(OPERATIONS)}")
    return wanted


def _pids(value: Any) -> tuple[int, ...]:
    return tuple(int(pid) for pid in _list(value))


def _size(value: Any) -> int:
    text = str(value).strip().upper().removesuffix("B").removesuffix("I")
    number, unit = (text[:-1], text[-1]) if text and text[-1] in _SIZE_UNITS else (text, "")
    if not number.isdecimal():
        raise ValueError(f"{value!r} should be a size, as 64M")
    return int(number) * _SIZE_UNITS[unit]


def _ring_size(value: Any) -> int:
    try:
        size = _size(value)
    except ValueError:
        size = 0
    if size < _PAGE or size & (size - 1):
        raise ValueError(f"{value!r} should be a power of two of at least 4K, as 64M")
    return size


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < 1e6:
        raise ValueError(f"{value!r} should be seconds, 0 or more")
    return seconds


def _settings(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        # TOML turns a dotted key into nested tables, and true into a boolean.
        flat: dict[str, str] = {}
        for key, inner in value.items():
            if isinstance(inner, Mapping):
                flat.update({f"{key}.{rest}": text for rest, text in _settings(inner).items()})
            else:
                flat[key] = str(inner).lower() if isinstance(inner, bool) else str(inner)
        return flat
    pairs = [str(pair).partition("=") for pair in _list(value)]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise ValueError(f"{key!r} should be KEY=VALUE")
    return {key.strip(): text for key, _, text in pairs}


def _output(value: Any) -> str:
    if value != "-" and not str(value).endswith(".avro"):
        raise ValueError(f"{value!r} should be - for JSON lines or a file that ends in .avro")
    return str(value)


def _host_id(value: Any) -> str:
    text = _text(value)
    if not text.isprintable():  # no U+0000, which PostgreSQL refuses, and no bytes that are not UTF-8
        raise ValueError(f"{text!r} should have no control characters")
    if not 1 <= len(text.encode()) <= 128:
        raise ValueError("should have 1 to 128 bytes")
    return text


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r} should be one of {', '.join(allowed)}")
        return str(value)

    return check


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} should be text in quotes")
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "watch": _paths,
    "exclude": _paths,
    "op": _operations,
    "ignore_pid": _pids,
    "host_id": _host_id,
    "output": _output,
    "ring_size": _ring_size,
    "backend": _one_of(BACKENDS),
    "report_interval": _seconds,
    "drain_timeout": _seconds,
    "kafka": _settings,
    "log_level": _one_of(LOG_LEVELS),
    "control": _path,
    "metrics": _address,
    "state_dir": _plain_path,
    "bpffs": _plain_path,
    "spool_size": _size,
    "spool_full": _one_of(SPOOL_FULL),
}
