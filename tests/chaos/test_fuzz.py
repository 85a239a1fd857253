"""Every parser of ours on bytes that were not meant for it: an answer or an error of ours, at once.

Each runs for FSMON_FUZZ_SECONDS (2), or as long as `make fuzz SECONDS=60` says. The seed is printed and can
be given as FSMON_FUZZ_SEED.
"""

import contextlib
import io
import json
import socket
import threading
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import fastavro
import pytest
from chaos.fuzzing import SLOWEST, fuzz
from fsmon_consumer import tail
from fsmon_consumer.batch import Decoder, LogSlice
from fsmon_consumer.config import load_config
from fsmon_consumer.registry import WriterSchemas
from fsmon_producer.config import resolve
from fsmon_producer.control import Control
from fsmon_producer.pins import Identity
from fsmon_producer.question import _SCHEMA, Question
from fsmon_producer.record import CURRENT
from fsmon_producer.ring import Batch, Cursor
from fsmon_producer.stamp import Stamp
from fsmon_schemas import CAPTURE_REPORT, FILE_EVENT
from fsmon_schemas.errors import FsmonError
from fsmon_schemas.framing import confluent_prefix, single_object_prefix, split_frame
from fsmon_schemas.registry import RegistryClient
from simulated_host import SimulatedHost
from unit.producer.fake_capture import DISCARDED, PAGE, FakeCapture, FakeRing, body
from unit.producer.test_spool import IDENTITY

FRAME = single_object_prefix(FILE_EVENT)
LATEST = datetime(2026, 12, 1, tzinfo=UTC)
_host = SimulatedHost("host-1", 77, FRAME, 1_795_000_000_000_000)
MESSAGES = list(_host.messages(200))
REPORT = single_object_prefix(CAPTURE_REPORT) + _host.report(
    acked=0, partition=None, offset=None, ended=False
)


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


def test_questions_of_the_kernel() -> None:
    """They have no error of their own: what cannot be read ends the producer."""

    questions = []
    for op, call in (("unlink", 263), ("link", 265), ("chown", 260), ("setxattr", 188)):
        event = CURRENT.decode_kernel(
            body({"path": b"/start", "target_path": b"/other"}, op=op, syscall=call)
        )
        stream = io.BytesIO()
        asked = {"first": b"../name", "second": b"new", "hints": 3, "argument2": 0, "argument3": 1}
        fastavro.schemaless_writer(stream, _SCHEMA, {**asked, "argument4": 1024, "event": event})
        questions.append(stream.getvalue())
    fuzz(
        questions,
        Question.decode,
        (EOFError, ValueError, IndexError, OverflowError, AttributeError, TypeError),
    )


def test_a_ring_whose_memory_was_written_to() -> None:
    """Records or an error, never a read past what the kernel wrote."""
    capture = FakeCapture(4096)
    for number in range(40):
        capture.emit(bytes([number % 7 == 0]) + b"record %d" % number, bits=DISCARDED * (number % 5 == 0))
    [end, size] = [capture.producer, capture.ring_bytes]
    sound = capture._map[2 * PAGE : 2 * PAGE + size]

    def parse(data: bytes) -> None:
        capture._put(0, data[:size].ljust(size, b"\0"))
        capture._map[0:8] = bytes(8)
        ring = FakeRing(capture)
        try:
            bodies, behind = list[bytes](), end + 1
            while 0 < ring.behind < behind:  # a busy record is waited for
                behind = ring.behind
                bodies += ring.read(7, 1000).bodies
                ring.release(ring.cursor)
            assert 0 <= ring.behind <= end
            assert sum(len(each) + 8 for each in bodies) <= end
        finally:
            ring.close()

    fuzz([sound], parse)
    capture.close()


def test_identities_of_sessions() -> None:
    """What cannot be read raises one of these, and what can is written again as it was."""

    def parse(data: bytes) -> None:
        identity = Identity.of_json(data)
        assert Identity.of_json(identity.as_json()).as_json() == identity.as_json()

    fuzz([IDENTITY.as_json()], parse, (ValueError, KeyError, TypeError, AttributeError))


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
