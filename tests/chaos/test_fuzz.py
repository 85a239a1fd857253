"""Every parser of ours on bytes that were not meant for it: an answer or an error of ours, at once.

Each runs for FSMON_FUZZ_SECONDS (3), or as long as `make fuzz SECONDS=60` says. The seed is printed and can
be given as FSMON_FUZZ_SEED.
"""

import contextlib
import io
import json
import os
import random
import socket
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fsmon_consumer import tail
from fsmon_consumer.batch import Decoder, LogSlice
from fsmon_consumer.config import load_config
from fsmon_consumer.registry import WriterSchemas
from fsmon_producer.config import resolve
from fsmon_producer.control import Control
from fsmon_producer.record import CURRENT
from fsmon_producer.ring import Batch, Cursor
from fsmon_producer.stamp import Stamp
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT
from fsmon_schemas.errors import FsmonError
from fsmon_schemas.framing import confluent_prefix, single_object_prefix, split_frame
from fsmon_schemas.registry import RegistryClient
from simulated_host import SimulatedHost
from unit.producer.fake_capture import body

SECONDS = float(os.environ.get("FSMON_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("FSMON_FUZZ_SEED", str(random.randrange(1 << 32))))
SLOWEST = 5.0  # for one input, on a busy machine
FRAME = single_object_prefix(FILE_EVENT)
LATEST = datetime(2026, 12, 1, tzinfo=UTC)
_host = SimulatedHost("host-1", 77, FRAME, 1_795_000_000_000_000)
MESSAGES = list(_host.messages(200))
REPORT = single_object_prefix(CAPTURE_REPORT) + _host.report(
    acked=0, partition=None, offset=None, ended=False
)
ODD = [
    b"\x00",
    b"\xff" * 10,
    b"\x80" * 9 + b"\x01",
    b"[" * 5000,
    b'{"":' * 3000,
    b"'''",
    b"\xed\xa0\x80",
    b"9" * 400,
]


def mutated(dice: random.Random, data: bytes) -> bytes:
    """Some bytes flipped, cut, doubled, moved or replaced by ones that parsers dislike."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << dice.randrange(8)
            case 1:
                del changed[at : at + dice.choice((1, 2, 8, 64))]
            case 2:
                changed[at:at] = dice.randbytes(dice.choice((1, 2, 8)))
            case 3:
                changed[at:at] = dice.choice(ODD)
            case 4:
                changed[at:at] = changed[: dice.randrange(len(changed) + 1)]
            case _:
                del changed[at:]
        del changed[100_000:]
    return bytes(changed)


def fuzz(seeds: list[bytes], parse: Callable[[bytes], object]) -> None:
    print(f"FSMON_FUZZ_SEED={SEED}")
    dice = random.Random(SEED)
    end, tried = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        data = mutated(dice, dice.choice(seeds))
        began = time.monotonic()
        try:
            with contextlib.suppress(FsmonError):
                parse(data)
        except BaseException:
            print(f"input {data!r}")
            raise
        assert time.monotonic() - began < SLOWEST, data
        tried += 1
    print(f"{tried} inputs")
    assert tried > SECONDS


def test_frames() -> None:
    fuzz([*MESSAGES[:5], confluent_prefix(7) + b"body"], split_frame)


def test_records_that_the_kernel_flagged() -> None:
    def parse(data: bytes) -> None:
        stamp = Stamp(FRAME, "host", 1, 5000)
        [message] = stamp.messages(Batch(Cursor(0, 0), Cursor(0, 1), [data], [0]))
        assert len(message) <= 5000
        if data not in message:  # rewritten, so it must read
            CURRENT.decode_stamped(message[split_frame(message)[1] :])

    fuzz([body(pid=1), body({"path": b"/\xff\xfe"}, pid=2), body(path="/ä")], parse)


def test_messages_among_sound_ones() -> None:
    decoder = Decoder("reports", WriterSchemas(None).find)

    def parse(data: bytes) -> None:
        values: list[bytes | None] = [*MESSAGES[:20], data, *MESSAGES[20:40]]
        piece = LogSlice("events", 0, 1, [b"host-1"] * 41, values, list(range(41)))
        batch = decoder.decode([piece], LATEST)
        assert len(batch.events) + len(batch.dead) == 41
        assert len(batch.events) >= 40

    fuzz(MESSAGES[40:60], parse)


def test_capture_reports() -> None:
    decoder = Decoder("reports", WriterSchemas(None).find)

    def parse(data: bytes) -> None:
        piece = LogSlice("reports", 0, 1, [b"host-1/77"], [data], [0])
        batch = decoder.decode([piece], LATEST)
        assert len(batch.reports) + len(batch.dead) == 1

    fuzz([REPORT], parse)


class Answering(RegistryClient):
    """A registry that gives one text for every schema."""

    def __init__(self, text: str) -> None:
        self._text = text

    def call(self, *words: str, **named: object) -> dict[str, str]:
        return {"schema": self._text}


def test_schemas_of_a_registry() -> None:
    def parse(data: bytes) -> None:
        schemas = WriterSchemas("http://127.0.0.1:9")
        schemas._client = Answering(data.decode("utf-8", "replace"))
        values: list[bytes | None] = [*MESSAGES[:20], confluent_prefix(1) + MESSAGES[0][10:]]
        piece = LogSlice("events", 0, 1, [b"host-1"] * 21, values, list(range(21)))
        batch = Decoder("reports", schemas.find).decode([piece], LATEST)
        assert len(batch.events) + len(batch.dead) == 21

    fuzz([FILE_EVENT.text.encode(), CAPTURE_REPORT.text.encode()], parse)


def test_what_tail_shows() -> None:
    def parse(data: bytes) -> None:
        for event in tail.events(iter([data]), WriterSchemas(None).find, lambda _: None):
            tail.as_json(event)
            tail.Table(colour=False).line(event)

    fuzz(MESSAGES[:20], parse)


def test_configuration_files(tmp_path: Path) -> None:
    file = tmp_path / "fsmon.toml"
    texts = [
        b'watch = ["/etc"]\nop = ["read"]\nring_size = "64M"\n[kafka]\n"security.protocol" = "SSL"\n',
        b'topic = "events"\nlinger = "100ms"\nretention = "30d"\nbatch_rows = 5\n[kafka]\na.b = true\n',
    ]

    def parse(data: bytes) -> None:
        file.write_bytes(data)
        with contextlib.suppress(FsmonError):
            resolve({}, file)
        load_config({}, file=file, environ={})

    for text in texts:
        tomllib.loads(text.decode())
    fuzz(texts, parse)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "control.sock"
    listening, stop = Control(path), threading.Event()

    def serve() -> None:
        while not stop.wait(0.0005):
            listening.serve(lambda request: {"rules": sorted(map(str, request))})

    thread = threading.Thread(target=serve)
    thread.start()
    yield path
    stop.set()
    thread.join()
    listening.close()


def test_requests_on_the_control_socket(control: Path) -> None:
    def parse(data: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SLOWEST)
            connection.connect(str(control))
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(data + b"\n")
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                answer = connection.makefile("rb").read()
                assert isinstance(json.load(io.BytesIO(answer)), dict)

    fuzz([b'{"do": "add", "path": "/etc", "exclude": false}', b'{"do": "list"}'], parse)
