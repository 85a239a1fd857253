"""One virtual machine, from its boot to the exit status of the one command that it runs."""

import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fsmon_schemas.errors import ConfigError, FsmonError
from local.places import ROOT

from vm.kernel import Kernel

PREEMPT_MODES = ("voluntary", "full")
# Variables of the host that reach the guest's command; the rest would make runs differ from host to host.
INHERITED = ("FSMON_", "PYTHONPATH")


class MachineError(FsmonError):
    """A guest ended without the status of its command; the text ends with its console's last lines."""


@dataclass(frozen=True)
class Machine:
    """What to boot; ``state`` is a directory of its own, visible as /run/vm in the guest."""

    kernel: Kernel
    state: Path
    preempt: str = "voluntary"
    cpus: int = 2
    memory: str = "4G"
    append: str = ""  # more of the kernel's command line
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = field(default_factory=Path.cwd)  # of the command
    ports: tuple[int, ...] = ()  # of 127.0.0.1 that lead to the host's own; without any there is no network

    def __post_init__(self) -> None:
        if self.preempt not in PREEMPT_MODES:
            raise ConfigError(f"no preemption mode {self.preempt!r}: choose {' or '.join(PREEMPT_MODES)}")

    @property
    def console(self) -> Path:
        """Everything the kernel said, from its first line on."""
        return self.state / "console.log"

    def run(self, command: Sequence[str], *, out: IO[bytes], err: IO[bytes], seconds: int) -> int:
        """Boot, run ``command`` as root, and return its exit status.

        What it writes arrives in ``out`` and ``err`` while it runs. Raises MachineError when the
        guest does not end by itself within ``seconds``, or ends with an oops instead of a status.
        """
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(parents=True)
        (self.state / "guest.sh").write_text(self._script(command))
        (self.state / "checkout").write_text(str(ROOT))
        self.kernel.write_initramfs(self.state / "initramfs")
        code = self._boot(out, err, seconds)
        (self.state / "initramfs").unlink()
        status = self.state / "status"
        if status.exists():
            return int(status.read_text())
        reason = f"did not end within {seconds} s" if code == 124 else "stopped without a status"
        raise MachineError(
            f"the {self.kernel.release} guest {reason}; the end of {self.console}:\n{self._tail()}"
        )

    def _boot(self, out: IO[bytes], err: IO[bytes], seconds: int) -> int:
        """The emulator's exit status, 124 when it had to be ended."""
        # Pipes, since the emulator takes no descriptor that can be read as well: a terminal, say.
        pipes = [os.pipe(), os.pipe()]
        copies = [
            threading.Thread(target=_copy, args=(pipe[0], to))
            for pipe, to in zip(pipes, (out, err), strict=True)
        ]
        writing = [pipe[1] for pipe in pipes]
        # timeout(1) ends the guest also when this process is killed and cannot.
        command = ["timeout", "--kill-after=5", str(seconds), *self._emulator(*writing)]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=writing
            )
        finally:
            for descriptor in writing:
                os.close(descriptor)
            for copy in copies:
                copy.start()
        try:
            return process.wait()
        finally:
            process.terminate()
            process.wait()
            for copy in copies:
                copy.join()

    def _emulator(self, out: int, err: int) -> list[str]:
        share = "security_model=none,multidevs=remap"
        return [
            "qemu-system-x86_64",
            # KVM is not to be had inside the machines that CI gives.
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(self.cpus), "-m", self.memory),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", *self._network()),
            *("-kernel", str(self.kernel.image), "-initrd", str(self.state / "initramfs")),
            # An oops ends the run: a guest limping on would only be found at its time limit.
            *("-append", f"console=ttyS0 quiet oops=panic panic=-1 mitigations=off {self.append}".strip()),
            *("-serial", f"file:{self.console}"),
            *("-fsdev", f"local,id=root,path=/,readonly=on,{share}"),
            *("-device", "virtio-9p-pci,fsdev=root,mount_tag=root"),
            *("-fsdev", f"local,id=vm,path={self.state},{share}"),
            *("-device", "virtio-9p-pci,fsdev=vm,mount_tag=vm"),
            *("-add-fd", f"fd={out},set=1", "-chardev", "file,id=out,path=/dev/fdset/1,append=on"),
            *("-add-fd", f"fd={err},set=2", "-chardev", "file,id=err,path=/dev/fdset/2,append=on"),
            *("-device", "virtio-serial-pci"),
            *("-device", "virtserialport,nr=1,chardev=out", "-device", "virtserialport,nr=2,chardev=err"),
        ]

    def _network(self) -> list[str]:
        if not self.ports:
            return ["-nic", "none"]
        # An empty romfile: nobody boots from the network, and the rom is in a package of its own.
        return ["-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile="]

    def _forwards(self) -> list[str]:
        """Shell lines: Kafka's brokers tell clients to come to 127.0.0.1, so it has to be the same here."""
        if not self.ports:
            return []
        return [
            "modprobe virtio_net",
            # qemu(1), user mode networking: the guest is 10.0.2.15, the host's loopback is 10.0.2.2.
            "/bin/busybox ip address add 10.0.2.15/24 dev eth0",
            "/bin/busybox ip link set eth0 up",
            *(f"socat TCP-LISTEN:{port},bind=127.0.0.1,fork TCP:10.0.2.2:{port} &" for port in self.ports),
            # proc(5), /proc/net/tcp: state 0A listens.
            *(
                f"until grep -q ':{port:04X} 00000000:0000 0A' /proc/net/tcp; do sleep 0.1; done"
                for port in self.ports
            ),
        ]

    def _script(self, command: Sequence[str]) -> str:
        """The guest's process 1 once its root is there."""
        variables = {"HOME": "/root", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        variables |= {name: value for name, value in os.environ.items() if name.startswith(INHERITED)}
        variables["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables |= self.environment
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        return "\n".join(
            [
                *lines,
                f"mkdir -p /lib/modules/{self.kernel.release}",
                f"mount --bind {shlex.quote(str(self.kernel.modules))} /lib/modules/{self.kernel.release}",
                f"echo {self.preempt} > /sys/kernel/debug/sched/preempt",
                *self._forwards(),
                "echo \"guest: up after $(cut -d ' ' -f 1 /proc/uptime) s\" > /dev/console",
                f"cd {shlex.quote(str(self.directory))}",
                f"{shlex.join(command)} < /dev/null > /dev/vport*p1 2> /dev/vport*p2",
                "echo $? > /run/vm/status",
                "exec /bin/busybox poweroff -f",
                "",
            ]
        )

    def _tail(self) -> str:
        if not self.console.exists():
            return "(the emulator did not start)"
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-120:])


def _copy(descriptor: int, target: IO[bytes]) -> None:
    """Copy a pipe as it fills, until its other end is closed everywhere."""
    with open(descriptor, "rb", buffering=0) as pipe:
        while chunk := pipe.read(65536):
            target.write(chunk)
            target.flush()
