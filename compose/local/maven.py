"""Java artefacts, brought by Maven into ``.local/cache``."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from local.process import ServiceError

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """Return ``path``; if it is not there, ``make`` it under a temporary name and rename it.

    Safe against interruption and against other processes that want the same path.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            draft = path.parent / f"{path.name}.{os.getpid()}"
            make(draft)
            draft.rename(path)
    return path


def copy_dependencies(pom: Path, target: Path, *options: str) -> None:
    """Put the runtime jars that ``pom`` names into the directory ``target``."""
    goal = f"{_PLUGIN}:copy-dependencies"
    _run([goal, f"-f={pom}", f"-DoutputDirectory={target}", "-DincludeScope=runtime", *options])


def unpack(artifact: str, target: Path) -> None:
    """Unpack ``artifact`` (group:name:version:type:classifier, a tar.gz) into ``target``."""
    archives = target.with_name(f"{target.name}.download")
    _run([f"{_PLUGIN}:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={archives}"])
    (archive,) = archives.iterdir()
    target.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", target], check=True)
    archive.unlink()
    archives.rmdir()


def _run(arguments: Sequence[str]) -> None:
    command = ["mvn", "-B", "-q", "-Dstyle.color=never", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceError(f"{' '.join(command)} failed; is the machine online?\n{done.stdout}{done.stderr}")
