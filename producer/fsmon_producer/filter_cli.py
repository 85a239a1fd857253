"""`fsmon-producer filter`: what a running producer watches."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fsmon_producer import options
from fsmon_producer.config import CONTROL
from fsmon_producer.control import ask

filter_app = typer.Typer(
    help="Change what the running producer watches, without losing an event; in force when the command "
    "returns, until the producer ends or reads its file again (SIGHUP): what is to stay belongs there.",
    no_args_is_help=True,
)
_Path = Annotated[Path, typer.Argument(metavar="PATH", help="A directory with all below it, or one file.")]
_Exclude = Annotated[bool, typer.Option("--exclude", help="A rule of what inside not to watch.")]


@filter_app.command("add")
def add(path: _Path, exclude: _Exclude = False, control: options.Control = None) -> None:
    """Watch PATH, too, or with --exclude no longer."""
    _ask(control, "add", path=str(path.absolute()), exclude=exclude)


@filter_app.command("remove")
def remove(path: _Path, exclude: _Exclude = False, control: options.Control = None) -> None:
    """Take the rule for PATH back; its name need not exist any more."""
    _ask(control, "remove", path=str(path.absolute()), exclude=exclude)


@filter_app.command("list")
def list_rules(control: options.Control = None) -> None:
    """Print a line a rule: include or exclude, device and inode as the kernel names them, path."""
    for rule in _ask(control, "list")["rules"]:
        gone = "" if rule["stands"] else "  (nothing, or another file, has this name now)"
        path = rule["path"].encode(errors="backslashreplace").decode()
        print(f"{'exclude' if rule['exclude'] else 'include'}  {rule['inode']:<20}  {path}{gone}")


def _ask(control: Path | None, do: str, **more: Any) -> dict[str, Any]:
    return ask(control or CONTROL, {"do": do, **more})
