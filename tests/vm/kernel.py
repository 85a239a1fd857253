"""Debian's kernels, fetched by apt and unpacked once a version, and the initramfs that boots them."""

import functools
import lzma
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fsmon_schemas.errors import ConfigError, FatalError
from local.maven import made_once
from local.places import CACHE

# The package that always depends on the newest kernel of a series (Debian 12 and its security archive).
METAPACKAGES = {"6.1": "linux-image-amd64", "6.12": "linux-image-6.12-amd64"}
INIT = Path(__file__).parent / "init"
BUSYBOX = Path("/bin/busybox")
# What it takes to reach the host's files; the rest is loaded from /lib/modules by those who need it.
MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")


@dataclass(frozen=True)
class Kernel:
    """One kernel, unpacked below ``directory``."""

    series: str
    directory: Path

    @property
    def modules(self) -> Path:
        """The directory that the guest sees as /lib/modules/<its release>."""
        (modules,) = (self.directory / "lib/modules").iterdir()
        return modules

    @property
    def release(self) -> str:
        """What ``uname -r`` says in the guest."""
        return self.modules.name

    @property
    def image(self) -> Path:
        """The bzImage."""
        return self.directory / "boot" / f"vmlinuz-{self.release}"

    def write_initramfs(self, target: Path) -> None:
        """Write an uncompressed cpio of init, busybox and MODULES: unpacking costs more under emulation."""
        tree = target.with_name(f"{target.name}.tree")
        for name in ("bin", "modules", "proc", "sys", "dev"):
            (tree / name).mkdir(parents=True)
        shutil.copy(INIT, tree / "init")
        shutil.copy(BUSYBOX, tree / "bin/busybox")
        for number, module in enumerate(self._load_order()):
            packed = module.read_bytes()
            content = lzma.decompress(packed) if module.suffix == ".xz" else packed
            # Numbered, so that init loads them by a glob in the order of their dependencies.
            (tree / "modules" / f"{number:02}-{module.name.removesuffix('.xz')}").write_bytes(content)
        names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
        with target.open("wb") as archive:
            subprocess.run(
                ["cpio", "--create", "--format=newc", "--quiet"],
                input=names.encode(),
                stdout=archive,
                cwd=tree,
                check=True,
            )
        shutil.rmtree(tree)

    def _load_order(self) -> list[Path]:
        """The files of MODULES and of what they depend on, without what is built in."""
        depends = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            file, _, needs = line.partition(":")
            # modules.dep(5): a module's dependencies stand in the reverse of the order they load in.
            depends[_module_name(file)] = [*reversed(needs.split()), file]
        built_in = {
            _module_name(line) for line in (self.modules / "modules.builtin").read_text().splitlines()
        }
        order = dict.fromkeys(file for name in MODULES if name not in built_in for file in depends[name])
        return [self.modules / file for file in order]


def _module_name(file: str) -> str:
    return Path(file).name.partition(".")[0].replace("-", "_")


@functools.cache
def kernel(series: str) -> Kernel:
    """The newest kernel of ``series`` (a key of METAPACKAGES), fetched if it is not there yet."""
    if series not in METAPACKAGES:
        raise ConfigError(f"no kernel {series!r}: choose one of {', '.join(METAPACKAGES)}")
    package = _package(series)
    version = _apt("apt-cache", "show", "--no-all-versions", package).partition("\nVersion: ")[2].split()[0]
    return Kernel(
        series, made_once(CACHE / "kernels" / f"{package}_{version}", lambda at: _fetch(package, at))
    )


def _package(series: str) -> str:
    """The package of the kernel itself, which carries the release in its name."""
    meta = METAPACKAGES[series]
    listing = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        _apt("apt-get", "-qq", "update")
        listing = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True, check=False)
    for line in listing.stdout.splitlines():
        name = line.removeprefix("  Depends: ")
        if name.startswith(f"linux-image-{series}."):
            return name
    raise FatalError(
        f"{meta} is no {series} kernel here: the virtual machines want the archives of Debian 12\n"
        f"{listing.stdout}{listing.stderr}"
    )


def _fetch(package: str, draft: Path) -> None:
    draft.mkdir()
    # The sandbox user may not write below .local; as root apt would say so on every download.
    _apt("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, directory=draft)
    (archive,) = draft.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, draft], check=True)
    archive.unlink()
    shutil.rmtree(draft / "usr")
    (modules,) = (draft / "lib/modules").iterdir()
    subprocess.run(["depmod", "--basedir", draft, modules.name], check=True)


def _apt(*command: str, directory: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    if done.returncode != 0:
        raise FatalError(
            f"{' '.join(command)} failed; is the machine online and is this root?\n{done.stdout}{done.stderr}"
        )
    return done.stdout
