"""`fsmon-producer filter` and SIGHUP against the real program on the real kernel."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsmon_producer.control import Control

pytestmark = pytest.mark.kernel

FSMON = [sys.executable, "-c", "from fsmon_producer.cli import main; main()"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FSMON, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


class Producer:
    """`fsmon-producer run --output -`; ``paths`` are those of events so far, ``told`` its log."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*FSMON, "run", "--output=-", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.paths: list[str] = []
        self.seqs: list[int] = []
        self.told: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._take_event)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.told.append)),
        ]
        for reader in self._readers:
            reader.start()
        self.wait_for("capturing on")

    def _read(self, stream: Iterator[str], take: Callable[[str], None]) -> None:
        for line in stream:
            take(line)

    def _take_event(self, line: str) -> None:
        event = json.loads(line)
        self.paths.append(event["path"])
        self.seqs.append(event["seq"])

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + 60
        while not any(words in line for line in self.told):
            assert self.process.poll() is None, self.told
            assert time.monotonic() < deadline, self.told
            time.sleep(0.02)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(30)
        for reader in self._readers:
            reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


class Ground:
    """Directories a to d, a producer that watches a by its file, and the file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "run" / "producer.sock"
        self.file = root / "fsmon.toml"
        for name in "abcd":
            (root / name).mkdir()
        self.configure("a")
        self.producer = Producer(f"--config={self.file}", f"--control={self.socket}")

    def configure(self, *names: str, more: str = "") -> None:
        self.file.write_text(f"watch = {[str(self.root / name) for name in names]}\n{more}")

    def filter(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command("filter", *arguments, f"--control={self.socket}")

    def touched(self) -> set[str]:
        """In which of the directories a file that is made now is captured."""
        mark = os.urandom(4).hex()
        for name in "abcd":
            subprocess.run(["touch", str(self.root / name / mark)], check=True)
        time.sleep(0.5)
        return {Path(path).parent.name for path in self.producer.paths if path.endswith(mark)}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("command"))
    yield ground
    assert ground.producer.stop() == 0, ground.producer.told
    assert not ground.socket.exists()


@pytest.fixture(autouse=True)
def _as_configured(ground: Ground) -> None:
    ground.producer.told.clear()
    ground.configure("a")
    ground.producer.process.send_signal(signal.SIGHUP)
    ground.producer.wait_for("SIGHUP: what is watched")
    ground.producer.told.clear()


def test_add_list_and_remove(ground: Ground) -> None:
    b, inner = ground.root / "b", ground.root / "a"
    assert ground.touched() == {"a"}
    assert ground.filter("add", str(b)).returncode == 0
    assert ground.filter("add", "--exclude", str(inner)).returncode == 0
    assert ground.touched() == {"b"}
    listed = ground.filter("list").stdout.splitlines()
    assert [line.split()[::2] for line in listed] == [["exclude", str(inner)], ["include", str(b)]]
    device, inode = b.stat().st_dev, b.stat().st_ino
    assert f"{os.major(device)}:{os.minor(device)}:{inode} " in listed[1]
    b.rename(ground.root / "gone")
    assert "nothing, or another file, has this name now" in ground.filter("list").stdout
    assert ground.filter("remove", str(b)).returncode == 0
    (ground.root / "gone").rename(b)
    assert ground.touched() == set()
    wrong = ground.filter("remove", str(inner))
    assert (wrong.returncode, "is not watched" in wrong.stdout) == (1, True)
    missing = ground.filter("add", str(ground.root / "nothing"))
    assert (missing.returncode, "No such file" in missing.stdout) == (1, True)
    assert "Traceback" not in wrong.stdout + missing.stdout


def test_what_the_trial_at_the_start_did_is_not_among_the_events(ground: Ground) -> None:
    assert ground.touched() == {"a"}
    assert ground.producer.seqs == list(range(len(ground.producer.seqs)))
    assert not any("fsmon-probe" in path for path in ground.producer.paths)


def test_a_hangup_reads_the_file_again(ground: Ground) -> None:
    ground.filter("add", str(ground.root / "d"))
    ground.configure("b", "c", more='ring_size = "32M"\n')
    ground.producer.process.send_signal(signal.SIGHUP)
    ground.producer.wait_for("ring_size: changed in the file, in force at the next start")
    assert ground.touched() == {"b", "c"}
    (told,) = [line for line in ground.producer.told if "what is watched" in line]
    for name, done in {"b": "added", "c": "added", "a": "removed", "d": "removed"}.items():
        assert f"{done} {ground.root / name}" in told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("watch = [", "--config"),
        ("watch = ['/no/such/place']", "cannot watch /no/such/place: No such file"),
        ("watch = []", "nothing to watch"),
        ("wach = ['/tmp']", "did you mean watch?"),
    ],
)
def test_a_file_with_an_error_changes_nothing(ground: Ground, text: str, why: str) -> None:
    ground.file.write_text(text)
    ground.producer.process.send_signal(signal.SIGHUP)
    ground.producer.wait_for("what is watched stays as it was")
    assert any(why in line for line in ground.producer.told), ground.producer.told
    assert ground.touched() == {"a"}


def test_it_is_private_and_garbage_is_answered(ground: Ground) -> None:
    assert ground.socket.stat().st_mode & 0o777 == 0o600
    assert ground.socket.parent.stat().st_mode & 0o777 == 0o700
    for request, answer in {b"\xff\n": "no JSON", b"[]\n": "no JSON object", b'{"do": "x"}\n': "'x'"}.items():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(ground.socket))
            client.sendall(request)
            assert answer in json.loads(client.recv(1000))["error"]


def test_another_user_is_refused_whatever_the_modes_say() -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        control = Control(Path(place, "it.sock"))
        Path(place, "it.sock").chmod(0o666)
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
            "s.send(b'{}\\n'); print(s.recv(999))"
        )
        other = subprocess.run(
            ["/usr/bin/python3", "-ISc", code, f"{place}/it.sock"],
            user=65534,
            cwd="/",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert "uid 65534 may not change what is watched" in other.stdout
        control.close()


def test_a_second_producer_does_not_take_the_socket(ground: Ground) -> None:
    refused = command("run", "--output=-", f"--watch={ground.root}", f"--control={ground.socket}")
    assert (refused.returncode, "another producer listens" in refused.stdout) == (2, True)
    assert ground.filter("list").returncode == 0


def test_no_producer_and_one_that_was_killed(ground: Ground, tmp_path: Path) -> None:
    place = tmp_path / "run" / "it.sock"
    nobody = command("filter", "list", f"--control={place}")
    assert (nobody.returncode, "no producer listens at" in nobody.stdout) == (1, True)
    killed = Producer(f"--watch={tmp_path}", f"--control={place}")
    killed.process.kill()
    killed.stop()
    assert place.exists()
    nobody = command("filter", "list", f"--control={place}")
    assert (nobody.returncode, "no producer listens at" in nobody.stdout) == (1, True)
    follower = Producer(f"--watch={tmp_path}", f"--control={place}")
    assert str(tmp_path) in command("filter", "list", f"--control={place}").stdout
    # Without a file to read again a hang-up is the end of the terminal: it stops as at SIGTERM.
    follower.process.send_signal(signal.SIGHUP)
    follower.wait_for("stopping (SIGHUP)")
    assert follower.process.wait(30) == 0
    follower.stop()
