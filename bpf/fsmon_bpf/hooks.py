"""The LSM hooks that are listened to, and two ways to do so: on the hook, or on the function calling it."""

from dataclasses import dataclass
from enum import Enum

from fsmon_bpf.btf import Btf


class Way(Enum):
    """How a program comes to a hook; the value begins the name by which BCC knows what to attach it to."""

    LSM = "lsm__"
    FENTRY = "kfunc__"


@dataclass(frozen=True)
class Hook:
    """A hook, what it reports, and how its program comes to a struct path there.

    ``path`` begins with a parameter; *MEMBER follows a pointer and +MEMBER adds an offset of layout.py.
    Empty: the hook is told no path.
    """

    name: str
    ops: tuple[str, ...]
    path: tuple[str, ...] = ()
    caller: str = ""  # where it is not security_<name>
    instead: str = ""  # the hook that sees the same where the kernel does not have this one yet

    def target(self, way: Way) -> str:
        """The kernel function that a program is attached to."""
        # bpf_lsm_x is what a program on hook x replaces (kernel/bpf/bpf_lsm.c).
        return f"bpf_lsm_{self.name}" if way is Way.LSM else self.caller or f"security_{self.name}"

    def program(self, way: Way) -> str:
        """The C function's name, from which BCC learns its type and target."""
        return way.value + (self.name if way is Way.LSM else self.target(way))

    def parameters(self, way: Way, btf: Btf) -> list[str] | None:
        """Names of what the program is given, in order; None where the kernel has no such hook."""
        return btf.parameters_of(self.target(way))


_FILE = ("file", "+FILE_PATH")
HOOKS = (
    Hook("file_open", ("open", "create"), _FILE),
    Hook("file_permission", ("read", "write", "fallocate", "readdir", "clone"), _FILE),
    Hook("file_truncate", ("truncate",), _FILE, instead="path_truncate"),  # since 6.2
    Hook("file_ioctl", ("setflags",), _FILE),
    Hook("file_ioctl_compat", ("setflags",), _FILE, instead="file_ioctl"),  # since 6.8, and 6.1.76
    Hook("inode_file_setattr", ("setflags",), instead="file_ioctl"),  # since 6.17
    Hook("mmap_file", ("mmap",), _FILE),
    Hook("file_mprotect", ("mprotect",), ("vma", "*VMA_FILE", "+FILE_PATH")),
    Hook(
        "bprm_check_security", ("exec",), ("bprm", "*BPRM_FILE", "+FILE_PATH"), caller="security_bprm_check"
    ),
    Hook("path_unlink", ("unlink",), ("dir",)),
    Hook("path_rmdir", ("rmdir",), ("dir",)),
    Hook("path_mkdir", ("mkdir",), ("dir",)),
    Hook("path_mknod", ("mknod", "bind"), ("dir",)),
    Hook("path_symlink", ("symlink",), ("dir",)),
    Hook("path_link", ("link",), ("new_dir",)),
    Hook("path_rename", ("rename", "exchange"), ("old_dir",)),
    Hook("path_truncate", ("truncate",), ("path",)),
    Hook("path_chmod", ("chmod",), ("path",)),
    Hook("path_chown", ("chown",), ("path",)),
    Hook("inode_setattr", ("utimens",)),
    Hook("inode_setxattr", ("setxattr",)),
    Hook("inode_removexattr", ("removexattr",)),
    Hook("inode_set_acl", ("setxattr",), instead="inode_setxattr"),  # since 6.2
    Hook("inode_remove_acl", ("removexattr",), instead="inode_removexattr"),  # since 6.2
    Hook("sb_mount", ("mount", "move_mount"), ("path",)),
    Hook("sb_umount", ("unmount",)),
    Hook("move_mount", ("move_mount",), ("to_path",)),
)
