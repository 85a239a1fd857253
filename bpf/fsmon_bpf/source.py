"""A backend's program as one text: the generated encoder and every local header flattened into the main file.

BCC rewrites map calls in the main file only, so ``#include "…"`` cannot be left to its compiler; ``#line``
keeps its messages pointing at the real files.
"""

import re
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

from fsmon_bpf import avro_encoder
from fsmon_bpf.syscalls import Kind, Uncovered

HERE = Path(__file__).parent
KERNEL_STUB = HERE / "kernel_stub"

_LOCAL_INCLUDE = re.compile(r'#include "(.+)"')
_GENERATED = "generated.h"


def program_text(name: str, extra: str = "") -> str:
    """The C text of ``<name>.bpf.c`` ready for BCC; ``extra`` is appended (tests add programs so)."""
    return "\n".join([*_flatten(HERE / f"{name}.bpf.c"), extra])


def encoder_text() -> str:
    """avro.h, the encoder generated from the schema, and the numbers Python and C share."""
    return "\n".join(
        [
            *_flatten(HERE / "avro.h"),
            *_constants("KIND", Kind),
            *_constants("UNCOVERED", Uncovered),
            avro_encoder.generate(),
        ]
    )


def _constants(prefix: str, numbers: type[IntEnum]) -> Iterator[str]:
    for number in numbers:
        yield f"#define {prefix}_{number.name} {number.value}"


def _flatten(path: Path) -> Iterator[str]:
    yield f'#line 1 "{path.name}"'
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        local = _LOCAL_INCLUDE.match(line)
        if local is None:
            yield line
            continue
        if local[1] == _GENERATED:
            yield '#line 1 "generated.h"'
            yield encoder_text()
        else:
            yield from _flatten(HERE / local[1])
        yield f'#line {number + 1} "{path.name}"'
