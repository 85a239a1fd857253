"""``python -m local up | down | kill | status | env | fetch``: the services for trying fsmon by hand."""

import sys
from concurrent.futures import ThreadPoolExecutor

from fsmon_schemas.errors import FsmonError

from local.kafka import archive
from local.places import LOCAL
from local.process import stop_all
from local.registry import distribution
from local.stack import Stack


def main() -> int:
    """Do what the one argument says; 0 when it is done, 1 with the reason on stderr."""
    commands = {"up": up, "down": down, "kill": kill, "status": status, "env": env, "fetch": fetch}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[sys.argv[1]]()
    except FsmonError as error:
        print(f"local: {error}", file=sys.stderr)
        return 1


def up() -> int:
    """Start what does not run yet; print where everything is."""
    Stack().start()
    return status()


def down() -> int:
    """Stop everything; data and ports stay for the next ``up``."""
    Stack().stop()
    return 0


def kill() -> int:
    """Kill whatever still runs below ``.local``, a demo's and tests' too: their data is to go."""
    stop_all(LOCAL)
    return 0


def status() -> int:
    """Print every service's address; 1 if one does not run."""
    stack = Stack()
    for name, running, address in stack.table():
        print(f"{name:10} {'up  ' if running else 'down'}  {address}")
    return 0 if all(running for _, running, _ in stack.table()) else 1


def env() -> int:
    """Print the shell lines that point fsmon at these services."""
    for name, value in Stack().environment().items():
        print(f"export {name}={value}")
    return 0


def fetch() -> int:
    """Bring the Java programs, both at a time, so that the first start is as fast as the others."""
    with ThreadPoolExecutor() as pool:
        for path in [pool.submit(archive), pool.submit(distribution)]:
            path.result()
    return 0


if __name__ == "__main__":
    sys.exit(main())
