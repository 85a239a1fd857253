"""``python -m vm run|verify|test``: commands of this tree inside virtual machines with other kernels."""

import argparse
import os
import shutil
import signal
import sys
import time

from fsmon_schemas.errors import FsmonError

from vm import suite
from vm.kernel import METAPACKAGES, kernel
from vm.machine import PREEMPT_MODES, Machine, MachineError


def main() -> int:
    """Do what the arguments say; the command's own exit status, or ours with the reason on stderr."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and the guest is ended
    try:
        return int(arguments.do(arguments))
    except FsmonError as error:
        print(f"vm: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("--kernel", choices=METAPACKAGES, default="6.1")
    one.add_argument("--preempt", choices=PREEMPT_MODES, default="voluntary")
    one.add_argument("--cpus", type=int, default=2, help="1 where programs come and go under load")
    one.add_argument(
        "--timeout", type=int, default=600, metavar="SECONDS", help="for all of it, with the boot"
    )
    one.add_argument("--append", default="", metavar="TEXT", help="more of the kernel's command line")
    one.add_argument("--port", type=int, action="append", help="of 127.0.0.1 that leads to the host's own")

    run = commands.add_parser(
        "run", parents=[one], help="run one command inside; its output and exit status come back"
    )
    run.add_argument("argv", nargs="+", metavar="-- ARGV", help="what to run, in this working directory")
    run.set_defaults(do=_run)

    verify = commands.add_parser("verify", parents=[one], help="what the kernel's verifier says of a C text")
    verify.add_argument("argv", nargs="+", metavar="-- FILE [-DNAME=VALUE]", help="as python -m vm.verify")
    verify.set_defaults(do=_verify)

    test = commands.add_parser("test", help="run the kernel tests marked vm, on each kernel and mode named")
    test.add_argument("--kernel", choices=METAPACKAGES, action="append", help="default: each")
    test.add_argument("--preempt", choices=PREEMPT_MODES, action="append", help="default: each")
    test.add_argument("-k", dest="expression", default="", help="as pytest's -k")
    test.set_defaults(do=_test)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    """Run the command; keep the console if it fails."""
    machine = Machine(
        kernel(arguments.kernel),
        suite.STATE / f"run-{os.getpid()}",
        preempt=arguments.preempt,
        cpus=arguments.cpus,
        append=arguments.append,
        ports=tuple(arguments.port or ()),
    )
    start = time.monotonic()
    out, err = sys.stdout.buffer, sys.stderr.buffer
    status = machine.run(arguments.argv, out=out, err=err, seconds=arguments.timeout)
    print(f"vm: {machine.kernel.release}, status {status}, {time.monotonic() - start:.0f} s", file=sys.stderr)
    if status == 0:
        shutil.rmtree(machine.state)
    else:
        print(f"vm: the guest's console is {machine.console}", file=sys.stderr)
    return status


def _verify(arguments: argparse.Namespace) -> int:
    arguments.argv = [sys.executable, "-m", "vm.verify", *arguments.argv]
    return _run(arguments)


def _test(arguments: argparse.Namespace) -> int:
    """Run the suites, one guest at a time; 1 if any failed."""
    told, failed = [], False
    for series in arguments.kernel or METAPACKAGES:
        for preempt in arguments.preempt or PREEMPT_MODES:
            print(f"vm: Linux {series} preempt={preempt}", file=sys.stderr)
            out, err = sys.stdout.buffer, sys.stderr.buffer
            try:
                outcome = suite.run(series, preempt, arguments.expression, out=out, err=err)
            except MachineError as error:
                told.append(f"Linux {series} preempt={preempt}: FAILED, {error}")
                failed = True
                continue
            told += str(outcome).splitlines()
            if outcome.passed:
                shutil.rmtree(outcome.state)
            else:
                told.append(f"its console and junit file are in {outcome.state}")
                failed = True
    print(*(f"vm: {line}" for line in told), sep="\n", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
