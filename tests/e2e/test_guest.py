"""From other kernels to PostgreSQL: producers in guests, all that is behind them on the host."""

import io
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kernel.operations import COUNT, as_expected, as_told, lay_out
from local.deployment import Deployment
from local.places import ROOT
from psycopg.rows import dict_row
from vm.kernel import METAPACKAGES, kernel
from vm.machine import Machine

pytestmark = [pytest.mark.services, pytest.mark.kernel]

# A producer that ends before it captures ends the guest, too.
SCRIPT = """
    set -eu
    cp -r "$1/ground" /tmp/ground
    fsmon-producer run --watch /tmp/ground --host-id "$3" --report-interval 1 2> /run/vm/producer.log &
    until grep -q capturing /run/vm/producer.log; do
        kill -0 $! || { cat /run/vm/producer.log >&2; exit 1; }
        sleep 0.5
    done
    "$1/driver" absolute /tmp/ground /tmp/ground "$2" > /run/vm/expected
    kill -INT $!
    wait $! || { cat /run/vm/producer.log >&2; exit 1; }
"""


def test_what_guests_capture_is_stored_on_the_host(home: Path) -> None:
    """Both kernels at once, each a host of its own."""
    fsmon = Deployment(home)
    fsmon.prepare()
    fsmon.start_consumers(1)
    for name in ("driver", "noop"):
        source = ROOT / f"tests/kernel/{name}.c"
        subprocess.run(["gcc", "-static", "-O1", "-o", home / name, source], check=True)
    lay_out(home / "ground", home / "noop")
    services = fsmon.stack.environment()
    ports = port_of(fsmon.stack.kafka.bootstrap), port_of(services["FSMON_REGISTRY"])
    machines = {
        series: Machine(
            kernel(series),
            home / f"vm-{series}",
            preempt="full",
            environment={**services, "PATH": f"{ROOT}/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            ports=ports,
        )
        for series in METAPACKAGES
    }
    with ThreadPoolExecutor() as pool:
        runs = {series: pool.submit(run, machine, home, series) for series, machine in machines.items()}
    for finished in runs.values():
        status, told = finished.result()
        assert status == 0, told
    assert fsmon.audit(settle_seconds=60) == 0
    for series, machine in machines.items():
        expected = as_told((machine.state / "expected").read_text().splitlines())
        with fsmon.database() as database, database.cursor(row_factory=dict_row) as cursor:
            stored = Counter(
                map(as_expected, cursor.execute("SELECT * FROM file_events WHERE host_id = %s", [series]))
            )
            (report,) = cursor.execute("SELECT * FROM reports WHERE host_id = %s", [series]).fetchall()
            dead = cursor.execute("SELECT count(*) FROM dead_letters").fetchone()
        assert stored == expected
        assert dead == {"count": 0}
        assert (report["backend"], report["kernel"]) == ("lsm", kernel(series).release)
        assert (report["state"], report["emitted"], report["lost"]) == ("ended", expected.total(), {})
    fsmon.stop()


def run(machine: Machine, home: Path, host_id: str) -> tuple[int, str]:
    """The status of SCRIPT in a guest, and what it told."""
    told = io.BytesIO()
    command = ["bash", "-c", SCRIPT, "bash", str(home), str(COUNT), host_id]
    status = machine.run(command, out=told, err=told, seconds=400)
    return status, told.getvalue().decode(errors="replace")


def port_of(address: str) -> int:
    """Of ``host:port`` or a URL."""
    port = urlsplit(address if "//" in address else f"//{address}").port
    assert port is not None
    return port
