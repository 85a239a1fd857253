"""The static C programs of tests/kernel, compiled once: under emulation that takes half a minute a boot."""

import hashlib
import os
import subprocess
from pathlib import Path

from local.places import LOCAL

_SOURCES = Path(__file__).parent / "kernel"
_BUILT = LOCAL / "programs"


def built(name: str) -> Path:
    """The program of ``NAME.c``, of the sources as they are now."""
    texts = sorted(path for path in _SOURCES.rglob("*.[ch]") if not path.name.endswith(".bpf.c"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in texts)).hexdigest()[:16]
    program = _BUILT / digest / name
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_name(f"{name}.{os.getpid()}")
        command = ["gcc", "-static", "-O1", "-Wall", "-Werror", "-o"]
        subprocess.run([*command, str(unfinished), str(_SOURCES / f"{name}.c")], check=True)
        unfinished.rename(program)
    return program


def build_all() -> None:
    """All of them, for a guest that has this tree."""
    for source in _SOURCES.glob("*.c"):
        if not source.name.endswith(".bpf.c"):
            built(source.stem)
