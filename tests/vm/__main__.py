"""``python -m vm run``: any command of this tree, inside a virtual machine with another kernel."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from fsmon_schemas.errors import FsmonError
from local.places import LOCAL

from vm.kernel import METAPACKAGES, kernel
from vm.machine import PREEMPT_MODES, Machine

STATE = LOCAL / "vm"


def main() -> int:
    """Do what the arguments say; the command's own exit status, or ours with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m vm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run one command inside; its output and exit status come back")
    run.add_argument("--kernel", choices=METAPACKAGES, default="6.1")
    run.add_argument("--preempt", choices=PREEMPT_MODES, default="voluntary")
    run.add_argument("--cpus", type=int, default=2, help="1 where programs come and go under load")
    run.add_argument(
        "--timeout", type=int, default=600, metavar="SECONDS", help="for all of it, with the boot"
    )
    run.add_argument("--append", default="", metavar="TEXT", help="more of the kernel's command line")
    run.add_argument("command", nargs="+", metavar="-- ARGV", help="what to run, in this working directory")
    run.set_defaults(do=run_command)
    arguments = parser.parse_args()
    try:
        return int(arguments.do(arguments))
    except FsmonError as error:
        print(f"vm: {error}", file=sys.stderr)
        return error.exit_code


def run_command(arguments: argparse.Namespace) -> int:
    """Run the command; keep the console if it fails."""
    state = STATE / f"run-{os.getpid()}"
    machine = Machine(
        kernel(arguments.kernel),
        state,
        preempt=arguments.preempt,
        cpus=arguments.cpus,
        append=arguments.append,
    )
    start = time.monotonic()
    out, err = sys.stdout.buffer, sys.stderr.buffer
    status = machine.run(arguments.command, out=out, err=err, seconds=arguments.timeout)
    print(f"vm: {machine.kernel.release}, status {status}, {time.monotonic() - start:.0f} s", file=sys.stderr)
    if status == 0:
        shutil.rmtree(state)
    else:
        print(f"vm: its console is {(state / 'console.log').relative_to(Path.cwd())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
