"""The command line of the producer."""

import faulthandler
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from fsmon_bpf import backends
from fsmon_bpf.source import program_text
from fsmon_schemas.command_line import refuse_secrets
from fsmon_schemas.errors import ConfigError, FsmonError
from fsmon_schemas.schema import CAPTURE_REPORT, FILE_EVENT

from fsmon_producer import ending, hook_check, options, preflight, service
from fsmon_producer.config import BACKENDS, Config, check_runnable, resolve
from fsmon_producer.filter_cli import filter_app
from fsmon_producer.kafka import CLIENT_LOG, check_settings
from fsmon_producer.probe import Answer
from fsmon_producer.registry import COMPATIBILITY, Registry
from fsmon_producer.topics import Topics

app = typer.Typer(
    name="fsmon-producer",
    help="Captures file operations in the kernel and delivers them to Kafka; nothing is lost in silence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(
    help="Create or check the topics that events and reports go to.", no_args_is_help=True
)
app.add_typer(topics_app, name="topics")
app.add_typer(filter_app, name="filter")
_ADMIN_SECONDS = 5.0


def main() -> None:
    """Run the command; errors made on purpose become one line and their exit code.

    SIGUSR1 makes any command say where it is.
    """
    faulthandler.register(signal.SIGUSR1)
    try:
        refuse_secrets(sys.argv[1:])
        app()
    except FsmonError as error:
        print(f"fsmon-producer: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


@app.command(epilog=options.EPILOG)
def run(
    watch: options.Watch = None,
    exclude: options.Exclude = None,
    op: options.Op = None,
    ignore_pid: options.IgnorePid = None,
    bootstrap_servers: options.Bootstrap = None,
    topic: options.Topic = None,
    reports_topic: options.ReportsTopic = None,
    registry: options.Registry = None,
    host_id: options.HostId = None,
    output: options.Output = None,
    ring_size: options.RingSize = None,
    backend: options.Backend = None,
    report_interval: options.ReportInterval = None,
    drain_timeout: options.DrainTimeout = None,
    kafka: options.Kafka = None,
    control: options.Control = None,
    metrics: options.Metrics = None,
    state_dir: options.StateDir = None,
    bpffs: options.Bpffs = None,
    spool_size: options.SpoolSize = None,
    spool_full: options.SpoolFull = None,
    config: options.ConfigFile = None,
    log_level: options.LogLevel = None,
) -> None:
    """Capture and deliver until SIGTERM or SIGINT; a second signal ends it at once.

    After SIGTERM, or a crash, the kernel goes on capturing, and the next run takes over without a gap:
    `fsmon-producer detach` ends that. SIGINT (Ctrl-C) ends capture and delivers what is left, and so does
    SIGTERM with --output or where nothing can be pinned.

    SIGHUP reads the file of --config again and watches what it says then, without losing an event.
    Exit code 0: everything captured was delivered, or is kept for the next run, which the log says. 1: it
    failed, or something was lost. 2: wrong configuration.
    """
    given = dict(locals())
    resolved = _resolved(given)
    check_runnable(resolved)
    raise typer.Exit(service.run(resolved, reread=_rereading(given)))


@app.command(epilog=options.EPILOG)
def detach(
    bootstrap_servers: options.Bootstrap = None,
    registry: options.Registry = None,
    drain_timeout: options.DrainTimeout = None,
    kafka: options.Kafka = None,
    state_dir: options.StateDir = None,
    bpffs: options.Bpffs = None,
    spool_size: options.SpoolSize = None,
    spool_full: options.SpoolFull = None,
    config: options.ConfigFile = None,
    log_level: options.LogLevel = None,
) -> None:
    """End the capture that a stopped or killed producer has left, and remove all of it from the kernel.

    What is left in its ring is delivered first, if Kafka is given and answers; else it goes to the spool.
    Exit code 1 where events, or the last report, were lost with it.
    """
    resolved = _resolved(dict(locals()))
    raise typer.Exit(ending.detach(resolved))


@app.command()
def check(
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Load the programs and do one of each operation in a directory of its own."
        ),
    ] = False,
    backend: options.Backend = None,
) -> None:
    """Say whether this host can capture, and what to do where it cannot. Exit code 1 where it cannot."""
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(f"backend: {backend!r} should be one of {', '.join(BACKENDS)}")
    findings = preflight.findings()
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name}: {finding.detail}")
        if not finding.ok:
            print(f"      {finding.remedy}")
    able = all(finding.ok for finding in findings)
    if able and os.geteuid() == 0:
        lines, able = hook_check.report(backend or "auto")
        print(*lines, sep="\n")
    if able and probe:
        able = _show_probe(*service.probed(backend or "auto"))
    raise typer.Exit(0 if able else 1)


def _show_probe(backend: str, answers: list[Answer]) -> bool:
    """Whether every operation that could be done was seen."""
    for answer in answers:
        verdict = "FAIL" if answer.silent else "ok  " if answer.hooks else "-   "
        told = ", ".join(answer.hooks) or answer.obstacle or "done, and no hook reported it"
        print(f"{verdict}  {backend} {answer.op}: {told}")
    return not any(answer.silent for answer in answers)


@app.command()
def source(
    backend: Annotated[str, typer.Option(help="tracepoint, lsm, fentry or resolve.")] = "tracepoint",
) -> None:
    """Print the program of a backend, as one C text: what runs in the kernel."""
    if backend not in BACKENDS[1:]:
        raise ConfigError(f"backend: {backend!r} should be one of {', '.join(BACKENDS[1:])}")

    print(program_text(backends.BACKENDS[backend].text))


@topics_app.command("create", epilog=options.EPILOG)
def create_topics(
    bootstrap_servers: options.Bootstrap = None,
    topic: options.Topic = None,
    reports_topic: options.ReportsTopic = None,
    registry: options.Registry = None,
    kafka: options.Kafka = None,
    config: options.ConfigFile = None,
    log_level: options.LogLevel = None,
    partitions: options.Partitions = 8,
    replication_factor: options.ReplicationFactor = None,
) -> None:
    """Create what is missing and register the schemas, then check all. Safe to repeat."""
    given = dict(locals())
    del given["partitions"], given["replication_factor"]
    resolved = _resolved(given)
    topics = _topics(resolved)
    replication = replication_factor or min(3, topics.brokers(_ADMIN_SECONDS))
    for name, count in ((resolved.topic, partitions), (resolved.reports_topic, 1)):
        if topics.create(name, count, replication, _ADMIN_SECONDS):
            print(f"created {name}")
    if resolved.registry:
        client = Registry(resolved.registry)
        for name, schema in ((resolved.topic, FILE_EVENT), (resolved.reports_topic, CAPTURE_REPORT)):
            print(f"registered the schema of {name} as id {client.register(name, schema)}")
    for name in (resolved.topic, resolved.reports_topic):
        topics.wait_for(name, _ADMIN_SECONDS)
    raise typer.Exit(_check_topics(resolved, topics))


@topics_app.command("check", epilog=options.EPILOG)
def check_topics(
    bootstrap_servers: options.Bootstrap = None,
    topic: options.Topic = None,
    reports_topic: options.ReportsTopic = None,
    registry: options.Registry = None,
    kafka: options.Kafka = None,
    config: options.ConfigFile = None,
    log_level: options.LogLevel = None,
) -> None:
    """Check that the topics keep what fsmon promises and the schemas are registered. Exit code 1 if not."""
    given = dict(locals())
    resolved = _resolved(given)
    raise typer.Exit(_check_topics(resolved, _topics(resolved)))


def _check_topics(config: Config, topics: Topics) -> int:
    faulty = 0
    for name in (config.topic, config.reports_topic):
        found = topics.look_up(name, _ADMIN_SECONDS)
        faults = found.faults()
        print(f"{name}: {found.partitions} partitions, replication {found.replication}")
        for fault in faults:
            print(f"  {fault}")
        faulty += len(faults)
    if config.registry:
        client = Registry(config.registry)
        for name, schema in ((config.topic, FILE_EVENT), (config.reports_topic, CAPTURE_REPORT)):
            level = client.compatibility(name)
            print(f"{name}-value: id {client.schema_id(name, schema)}, compatibility {level}")
            if level != COMPATIBILITY:
                print(f"  compatibility should be {COMPATIBILITY}")
                faulty += 1
    return 1 if faulty else 0


def _topics(config: Config) -> Topics:
    if config.bootstrap_servers is None:
        raise ConfigError("give --bootstrap-servers HOST:PORT")
    return Topics(config.bootstrap_servers, config.kafka)


def _resolved(given: Mapping[str, Any]) -> Config:
    config = _merged(given)
    logging.basicConfig(
        stream=sys.stderr,
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    if config.log_level == "debug":
        CLIENT_LOG.setLevel(logging.DEBUG)
    return config


def _rereading(given: Mapping[str, Any]) -> Callable[[], Config] | None:
    """How to read the configuration again, if there is a file of it."""

    def reread() -> Config:
        config = _merged(given)
        check_runnable(config)
        return config

    return reread if given["config"] else None


def _merged(given: Mapping[str, Any]) -> Config:
    flags = {**given, "kafka": [*shlex.split(os.environ.get("FSMON_KAFKA", "")), *(given["kafka"] or ())]}
    file: Path | None = flags.pop("config")
    config = resolve(flags, file)
    if config.kafka:
        check_settings(config.kafka)
    return config
