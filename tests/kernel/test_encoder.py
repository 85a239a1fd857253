"""What the kernel's encoder writes is what fastavro reads, for any value of any field."""

import ctypes
import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from bcc import BPF
from fsmon_bpf import source
from fsmon_bpf.avro_encoder import EncoderError, enums, generate, kernel_fields
from fsmon_producer.ring import Cursor, Ring
from fsmon_schemas import FILE_EVENT, Schema
from vm.scale import scaled

from .conftest import LONGEST_RECORD, Event, decode

pytestmark = [pytest.mark.kernel, pytest.mark.vm_once]

FIELDS = list(kernel_fields())
TEXTS = [field.name for field in FIELDS if field.kind == "text"]
NULLABLE = [field.name for field in FIELDS if field.nullable]
TYPES = {field["name"]: field["type"] for field in FILE_EVENT.declared["fields"]}
LONGS = (0, 1, -1, 63, 64, -64, -65, 127, 128, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))
SIZES = (0, 1, 7, 8, 31, 32, 33, 255, 4095)


class Encoder:
    """Loads the test program; ``encode`` puts one event through it."""

    def __init__(self) -> None:
        os.environ.setdefault("BCC_KERNEL_SOURCE", str(source.KERNEL_STUB))
        text = (Path(__file__).parent / "encoder.bpf.c").read_text()
        setters = (
            f"from->event.{name}.at = base + {index} * TEXT_CAP; "
            f"from->event.{name}.len = from->lengths[{index}];"
            for index, name in enumerate(TEXTS)
        )
        text = text.replace('#include "generated.h"', source.encoder_text()).replace(
            "SET_TEXTS", "\n".join(setters)
        )
        flags = ["-I/usr/include", "-I/usr/include/x86_64-linux-gnu", "-Wno-everything"]
        flags += [f"-DTEXTS={len(TEXTS)}", f"-DTEST_PID={os.getpid()}"]
        self.bpf = BPF(text=text.encode(), cflags=flags)
        self.bpf.load_func(b"on_sys_enter", BPF.RAW_TRACEPOINT)
        self.bpf.attach_raw_tracepoint(tp=b"sys_enter", fn_name=b"on_sys_enter")
        self.given, self.texts = self.bpf[b"given"], self.bpf[b"texts"]
        self.ring = Ring(self.bpf[b"ring"].map_fd, 1024 * 4096, Cursor(0, 0))
        self.fd = os.open("/dev/null", os.O_RDONLY)

    def set_texts(self, texts: dict[str, bytes]) -> None:
        padded = b"".join(texts[name].ljust(4096, b"\xff") for name in TEXTS)
        self.texts[ctypes.c_int(0)] = self.texts.Leaf.from_buffer_copy(padded)

    def encode(self, event: Event, texts: dict[str, bytes]) -> tuple[bytes, bool]:
        """The Avro bytes, and whether they were flagged as beyond ASCII."""
        leaf = self.given.Leaf()
        for bit, name in enumerate(NULLABLE):
            leaf.event.present |= (event[name] is not None) << bit
        for field in FIELDS:
            value = event[field.name]
            if field.kind == "enum":
                setattr(leaf.event, field.name, enums()[TYPES[field.name]["name"]].index(value))
            elif field.kind != "text" and value is not None:
                setattr(leaf.event, field.name, value)
        for index, name in enumerate(TEXTS):
            leaf.lengths[index] = len(texts[name])
        return self.fire(leaf)

    def fire(self, leaf: Any) -> tuple[bytes, bool]:
        self.given[ctypes.c_int(0)] = leaf
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_NORMAL)
        batch = self.ring.read(10, LONGEST_RECORD)
        assert len(batch.bodies) == 1
        self.ring.release(batch.end)
        return batch.bodies[0], bool(batch.special)


@pytest.fixture(scope="module")
def encoder() -> Iterator[Encoder]:
    encoder = Encoder()
    yield encoder
    os.close(encoder.fd)
    encoder.ring.close()
    encoder.bpf.cleanup()


def random_text(rng: random.Random, *, longest: int, ascii_only: bool) -> bytes:
    size = rng.choice([size for size in SIZES if size <= longest] + [rng.randrange(longest + 1)])
    text = "".join(rng.choices("abcXYZ/ ._-~\n\x7f" + ("" if ascii_only else "é漢🙂"), k=size))
    return text.encode()[:longest].decode(errors="ignore").encode()


def random_event(rng: random.Random) -> tuple[Event, dict[str, bytes]]:
    ascii_only = rng.random() < 0.8
    long_one = rng.choice([*TEXTS, None, None, None])
    texts = {
        name: random_text(rng, longest=4095 if name == long_one else 90, ascii_only=ascii_only)
        for name in TEXTS
    }
    event: Event = {}
    for field in FIELDS:
        if field.nullable and rng.random() < 0.4:
            event[field.name] = None
        elif field.kind == "text":
            text = texts[field.name]
            event[field.name] = text if "bytes" in TYPES[field.name] else text.decode()
        elif field.kind == "enum":
            event[field.name] = rng.choice(enums()[TYPES[field.name]["name"]])
        elif field.kind == "boolean":
            event[field.name] = rng.random() < 0.5
        else:
            event[field.name] = rng.choice(LONGS) if rng.random() < 0.5 else rng.getrandbits(64) - 2**63
    return event, texts


def test_twelve_thousand_random_records(encoder: Encoder) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    plain = plain_schema()
    for _ in range(scaled(12_000)):
        event, texts = random_event(rng)
        encoder.set_texts(texts)
        body, flagged = encoder.encode(event, texts)
        stream = io.BytesIO(body)
        assert fastavro.schemaless_reader(stream, plain) == event
        assert stream.tell() == len(body)
        assert flagged == any(
            byte > 0x7F for name in TEXTS if event[name] is not None for byte in texts[name]
        )


def plain_schema() -> Any:
    """The kernel's part without logical types: datetimes do not reach 64-bit extremes."""
    fields = [
        dict(field) for field in FILE_EVENT.declared["fields"] if field["name"] in {f.name for f in FIELDS}
    ]
    for field in fields:
        if isinstance(field["type"], dict) and field["type"].get("logicalType"):
            field["type"] = field["type"]["type"]
        if isinstance(field["type"], list) and isinstance(field["type"][1], dict):
            field["type"] = ["null", field["type"][1]["type"]]
    return fastavro.parse_schema({"type": "record", "name": "Plain", "fields": fields})


def test_every_combination_of_nulls(encoder: Encoder) -> None:
    texts = dict.fromkeys(TEXTS, b"t")
    encoder.set_texts(texts)
    leaf = encoder.given.Leaf()
    for index in range(len(TEXTS)):
        leaf.lengths[index] = 1
    seen = set()
    combinations = range(2 ** len(NULLABLE))
    chosen = random.sample(combinations, scaled(len(combinations)))
    for present in chosen:
        leaf.event.present = present
        event = decode(encoder.fire(leaf)[0])
        mask = sum((event[name] is not None) << bit for bit, name in enumerate(NULLABLE))
        assert mask == present
        seen.add(mask)
    assert len(seen) == len(chosen)


def test_two_longest_texts_fit(encoder: Encoder) -> None:
    texts = dict.fromkeys(TEXTS, b"")
    texts["path"] = texts["target_path"] = b"p" * 4095
    encoder.set_texts(texts)
    event, _ = random_event(random.Random(1))
    event |= dict.fromkeys(NULLABLE) | {"path": "p" * 4095, "target_path": "p" * 4095, "comm": ""}
    decoded = decode(encoder.encode(event | {"time": 0}, texts)[0])
    assert (decoded["path"], decoded["target_path"]) == (event["path"], event["target_path"])


@pytest.mark.parametrize(
    "avro",
    ["int", "float", ["null", "string", "long"], ["string", "null"], {"type": "map", "values": "long"},
     ["null", {"type": "enum", "name": "E", "symbols": ["a"]}], {"type": "array", "items": "long"}],
)  # fmt: skip
def test_a_type_the_kernel_cannot_write_is_refused(avro: Any) -> None:
    text = FILE_EVENT.declared | {"fields": [*FILE_EVENT.declared["fields"], {"name": "extra", "type": avro}]}
    with pytest.raises(EncoderError, match="extra"):
        generate(Schema(json.dumps(text)))
