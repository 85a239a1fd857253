"""Who is talking: the host, and the life of one ring buffer on it."""

import hashlib
import hmac
import os
import secrets
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from fsmon_schemas.errors import ConfigError

_MACHINE_ID = Path("/etc/machine-id")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Names this application to machine_app_specific; never change it, or every host gets a new name.
_APPLICATION = uuid.UUID("6e2d7c3f-0b1a-4c67-9a55-f3d1e04b8a92")


@dataclass(frozen=True)
class Session:
    """One ring buffer's life on one host; with a seq it names an event."""

    host_id: str
    id: int
    boot_id: str
    started: int  # microseconds since 1970-01-01 UTC
    hostname: str
    kernel: str


def new_session(host_id: str | None) -> Session:
    """A session that begins now; the host is named by ``host_id``, else by its machine id."""
    names = os.uname()
    return Session(
        host_id=host_id or derived_host_id(_MACHINE_ID),
        id=secrets.randbits(63),
        boot_id=_BOOT_ID.read_text(encoding="ascii").strip(),
        started=time.time_ns() // 1000,
        hostname=names.nodename,
        kernel=names.release,
    )


def derived_host_id(machine_id: Path) -> str:
    """A host id that does not tell the machine id; ConfigError where there is no machine id."""
    try:
        return machine_app_specific(uuid.UUID(machine_id.read_text(encoding="ascii").strip())).hex
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{machine_id} names no machine ({error}): give --host-id, or run systemd-machine-id-setup"
        ) from error


def started(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc(5), stat's 22nd); 0 where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def machine_app_specific(machine_id: uuid.UUID, application: uuid.UUID = _APPLICATION) -> uuid.UUID:
    """As systemd's sd_id128_get_machine_app_specific(3): keyed by the machine id, shaped as a UUID v4."""
    digest = hmac.digest(machine_id.bytes, application.bytes, hashlib.sha256)
    return uuid.UUID(bytes=digest[:16], version=4)
