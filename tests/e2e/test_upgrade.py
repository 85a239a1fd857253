"""Another ring, other operations, another name of the host, another schema: under load, without a gap."""

import json
import shutil
import time
from pathlib import Path

import fsmon_schemas
import pytest
from e2e.host import Host, Load
from fsmon_schemas import FILE_EVENT
from integration.consumer.running import wait_until

pytestmark = [pytest.mark.services, pytest.mark.kernel]
_TURNS = 1000  # a second: the ring holds them while programs are compiled, also where that is slow
_NEW = {"name": "mood", "type": ["null", "string"], "default": None}
# What the next start says, and the reason that the session before it gives for its end.
_STEPS = {
    "ring_bytes is 134217728 now": ("--ring-size=128M",),
    "the programs, or the operations asked for, are others": (
        "--ring-size=128M", "--op=create", "--op=write", "--op=unlink",
    ),
    "the host is called {} now": ("--host-id={}",),
    "the schema is another": ("--host-id={}",),
}  # fmt: skip


def newer(directory: Path) -> Path:
    """Our schemas' package with one more field, for PYTHONPATH."""
    package = directory / "fsmon_schemas"
    shutil.copytree(Path(fsmon_schemas.__file__).parent, package)
    schema = json.loads(FILE_EVENT.text)
    outcome = [field["name"] for field in schema["fields"]].index("result")
    schema["fields"].insert(outcome, _NEW)
    (package / "file_event.avsc").write_text(json.dumps(schema))
    return directory


def test_each_upgrade_is_another_session_without_a_gap(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumers, which know nothing of it, store what the sessions before and after it captured."""
    host.start()
    load = Load(host.watched, _TURNS)
    for reason, options in _STEPS.items():
        time.sleep(0.5)
        assert host.fsmon.producer.stop(30) == 0
        if "schema" in reason:
            monkeypatch.setenv("PYTHONPATH", str(newer(tmp_path)))
            registered = host.run("topics", "create")
            assert registered.returncode == 0, registered.stdout
        host.start(*(option.format(host.renamed) for option in options))
    monkeypatch.delenv("PYTHONPATH")
    wait_until(lambda: [state for state, _ in host.sessions()].count("ended") == len(_STEPS))
    load.stop()
    host.fsmon.stop_producer()
    host.must_have(load)
    told = host.sessions()
    assert [state for state, _ in told] == ["ended"] * (len(_STEPS) + 1)
    for reason, (_, end_reason) in zip(_STEPS, told, strict=False):
        assert (end_reason or "").startswith("replaced by session ")
        assert reason.format(host.renamed) in (end_reason or "")
    assert told[-1][1] == "SIGINT"
    assert host.stored(what="DISTINCT session") == len(told)
