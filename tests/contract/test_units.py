"""The systemd units: sound, tight, and no tighter than the programs bear."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from local.process import Process
from unit_rights import with_the_units_rights

ROOT = Path(__file__).parents[2]
# systemd-analyze's exposure, 0 to 10: the producer needs eBPF, and to see the paths that its rules name.
UNITS = {"producer/fsmon-producer.service": 3.4, "consumer/fsmon-consumer@.service": 1.3}


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_the_unit_and_finds_it_tight(unit: str, tmp_path: Path) -> None:
    installed = tmp_path / Path(unit).name
    scripts = str(Path(sys.executable).parent)
    installed.write_text((ROOT / unit).read_text().replace("/opt/fsmon/bin", scripts))
    verified = subprocess.run(
        ["systemd-analyze", "verify", installed], capture_output=True, text=True, check=False
    )
    told = [line for line in verified.stderr.splitlines() if installed.stem.rstrip("@") in line]
    assert not told
    limit = str(round(UNITS[unit] * 10))
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={limit}", installed],
        capture_output=True,
        text=True,
        check=False,
    )
    print(judged.stdout.splitlines()[-1])
    assert judged.returncode == 0, judged.stdout


@pytest.mark.kernel
def test_the_producer_captures_with_the_rights_its_unit_leaves_it(tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    producer = Process("producer", tmp_path)
    producer.launch(
        [
            *with_the_units_rights(),
            Path(sys.executable).parent / "fsmon-producer", "run", "--watch", watched, "--output", "-",
            "--control", tmp_path / "control.sock",
        ]
    )  # fmt: skip
    try:
        producer.wait(lambda: "capturing" in producer.log.read_text(), 60)
        (watched / "file").write_text("x")
        assert producer.stop(30) == 0, producer.log.read_text()
        events = [json.loads(line) for line in producer.log.read_text().splitlines() if line.startswith("{")]
        assert [event["op"] for event in events] == ["create", "write"]
    finally:
        producer.kill()
