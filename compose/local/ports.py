"""Free TCP ports, remembered so that a restarted service is found where it was."""

import json
import random
import socket
from pathlib import Path

# Below Linux's ephemeral range (net.ipv4.ip_local_port_range, from 32768), so that no outgoing
# connection takes the port of a service that is stopped for a moment.
_RANGE = range(20_000, 32_000)


def ports(directory: Path, count: int) -> list[int]:
    """``count`` ports for the service that owns ``directory``; the same ones at every call."""
    path = directory / "ports.json"
    if path.exists():
        remembered: list[int] = json.loads(path.read_text())
        return remembered
    chosen = [port for port in random.sample(_RANGE, 200) if _free(port)][:count]
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(chosen))
    return chosen


def listening(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:``port``."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
