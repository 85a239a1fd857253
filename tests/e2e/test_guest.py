"""From another kernel to PostgreSQL: the producer in a guest, all that is behind it on the host."""

import io
import subprocess
from collections import Counter
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
    fsmon-producer run --watch /tmp/ground --host-id guest --report-interval 1 2> /run/vm/producer.log &
    until grep -q capturing /run/vm/producer.log; do
        kill -0 $! || { cat /run/vm/producer.log >&2; exit 1; }
        sleep 0.5
    done
    "$1/driver" absolute /tmp/ground /tmp/ground "$2" > /run/vm/expected
    kill -INT $!
    wait $! || { cat /run/vm/producer.log >&2; exit 1; }
"""


@pytest.mark.parametrize("series", METAPACKAGES)
def test_what_a_guest_captures_is_stored_on_the_host(home: Path, series: str) -> None:
    fsmon = Deployment(home)
    fsmon.prepare()
    fsmon.start_consumers(1)
    for name in ("driver", "noop"):
        source = ROOT / f"tests/kernel/{name}.c"
        subprocess.run(["gcc", "-static", "-O1", "-o", home / name, source], check=True)
    lay_out(home / "ground", home / "noop")
    services = fsmon.stack.environment()
    machine = Machine(
        kernel(series),
        home / "vm",
        preempt="full",
        environment={**services, "PATH": f"{ROOT}/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        ports=(port_of(fsmon.stack.kafka.bootstrap), port_of(services["FSMON_REGISTRY"])),
    )
    told = io.BytesIO()
    command = ["bash", "-c", SCRIPT, "bash", str(home), str(COUNT)]
    status = machine.run(command, out=told, err=told, seconds=400)
    assert status == 0, told.getvalue().decode(errors="replace")
    expected = as_told((machine.state / "expected").read_text().splitlines())
    assert fsmon.audit(settle_seconds=60) == 0
    with fsmon.database() as database, database.cursor(row_factory=dict_row) as cursor:
        stored = Counter(map(as_expected, cursor.execute("SELECT * FROM file_events")))
        (report,) = cursor.execute("SELECT * FROM reports").fetchall()
        dead = cursor.execute("SELECT count(*) FROM dead_letters").fetchone()
    assert stored == expected
    assert dead == {"count": 0}
    assert (report["backend"], report["kernel"]) == ("lsm", kernel(series).release)
    assert (report["state"], report["emitted"], report["lost"]) == ("ended", expected.total(), {})
    fsmon.stop()


def port_of(address: str) -> int:
    """Of ``host:port`` or a URL."""
    port = urlsplit(address if "//" in address else f"//{address}").port
    assert port is not None
    return port
