"""What each system call does to which of its arguments: one row a call, x86-64 numbers.

The table is the tracepoint backend's whole knowledge of system calls. It is written into a BPF array, so
that a hook is a generic body reading arguments by their row, and an operation that is not wanted is a row
that is not there. Source of the numbers: arch/x86/entry/syscalls/syscall_64.tbl (Linux 6.18).
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

NO_ARGUMENT = 7  # arguments are 0 to 5


class Kind(IntEnum):
    """Which body handles the call: the index of its program in the tail-call table."""

    NONE = 0
    FD = 1  # on an open file
    OPEN = 2  # makes a descriptor
    PAIR = 3  # reads one file, writes another
    PATH = 4  # changes an existing file named by a path
    REMOVE = 5
    MAKE = 6  # makes a name for a new file
    LINK = 7
    RENAME = 8
    CONTROL = 9  # ioctl: its command says what it does
    MOUNT = 10  # changes where paths lead: cached verdicts die. This and what follows has no body
    UNCOVERED = 11  # counted, not seen into
    MARKER = 12  # tells fsmon itself how the kernel names an inode
    MEMORY = 13  # on memory that may show a file
    EXEC = 14  # has a hook of its own


class Uncovered(IntEnum):
    """Why operations may be missing: the index of a counter."""

    COMPAT = 0  # 32-bit system calls that the table does not decode
    IO_URING = 1
    AIO = 2
    UNRESOLVED = 3  # a path operation succeeded and the kernel named no inode
    FD_CLOSED = 4  # the descriptor was closed by another thread before the call ended
    KERNEL = 5  # a file is given to the kernel, which uses it by itself from then on
    DEDUPE = 6  # FIDEDUPERANGE: one file is compared with many, and they share what is equal


@dataclass(frozen=True)
class Call:
    """A row. Every field but kind, op, variant is the index of an argument."""

    kind: Kind
    op: str = "unknown"
    variant: int = 0  # for UNCOVERED: the counter
    fd: int = NO_ARGUMENT
    fd2: int = NO_ARGUMENT
    dirfd: int = NO_ARGUMENT
    path: int = NO_ARGUMENT
    dirfd2: int = NO_ARGUMENT
    path2: int = NO_ARGUMENT
    content: int = NO_ARGUMENT  # symlink's
    flags: int = NO_ARGUMENT
    how: int = NO_ARGUMENT  # openat2's struct open_how
    mode: int = NO_ARGUMENT
    owner: int = NO_ARGUMENT  # uid; the gid follows
    offset: int = NO_ARGUMENT
    length: int = NO_ARGUMENT
    prot: int = NO_ARGUMENT
    name: int = NO_ARGUMENT  # an xattr's

    def packed(self, number: int, op_number: int) -> bytes:
        """The row as ``struct call_row`` in maps.h."""
        return struct.pack(
            "<18BH", self.kind, op_number, self.variant, self.fd, self.fd2, self.dirfd, self.path,
            self.dirfd2, self.path2, self.content, self.flags, self.how, self.mode, self.owner, self.offset,
            self.length, self.prot, self.name, number,
        )  # fmt: skip


CALLS: dict[int, Call] = {
    0: Call(Kind.FD, "read", fd=0, length=2),
    17: Call(Kind.FD, "read", fd=0, length=2, offset=3),  # pread64
    19: Call(Kind.FD, "read", fd=0),  # readv
    295: Call(Kind.FD, "read", fd=0, offset=3),  # preadv
    327: Call(Kind.FD, "read", fd=0, offset=3),  # preadv2
    1: Call(Kind.FD, "write", fd=0, length=2),
    18: Call(Kind.FD, "write", fd=0, length=2, offset=3),  # pwrite64
    20: Call(Kind.FD, "write", fd=0),  # writev
    296: Call(Kind.FD, "write", fd=0, offset=3),  # pwritev
    328: Call(Kind.FD, "write", fd=0, offset=3),  # pwritev2
    313: Call(Kind.FD, "read", fd=0),  # finit_module
    40: Call(Kind.PAIR, fd=1, fd2=0, length=3),  # sendfile
    326: Call(Kind.PAIR, fd=0, fd2=2, length=4),  # copy_file_range
    275: Call(Kind.PAIR, fd=0, fd2=2, length=4),  # splice
    2: Call(Kind.OPEN, "open", path=0, flags=1, mode=2),
    85: Call(Kind.OPEN, "open", path=0, mode=1),  # creat
    257: Call(Kind.OPEN, "open", dirfd=0, path=1, flags=2, mode=3),  # openat
    437: Call(Kind.OPEN, "open", dirfd=0, path=1, how=2),  # openat2
    304: Call(Kind.OPEN, "open", flags=2),  # open_by_handle_at
    78: Call(Kind.FD, "readdir", fd=0, length=2),  # getdents
    217: Call(Kind.FD, "readdir", fd=0, length=2),  # getdents64
    9: Call(Kind.FD, "mmap", fd=4, length=1, prot=2, flags=3, offset=5),
    10: Call(Kind.MEMORY, "mprotect", length=1, prot=2),
    329: Call(Kind.MEMORY, "mprotect", length=1, prot=2),  # pkey_mprotect
    76: Call(Kind.PATH, "truncate", path=0, length=1),
    77: Call(Kind.FD, "truncate", fd=0, length=1),  # ftruncate
    285: Call(Kind.FD, "fallocate", fd=0, flags=1, offset=2, length=3),
    87: Call(Kind.REMOVE, "unlink", path=0),
    263: Call(Kind.REMOVE, "unlink", dirfd=0, path=1, flags=2),  # unlinkat; AT_REMOVEDIR makes it rmdir
    84: Call(Kind.REMOVE, "rmdir", path=0),
    82: Call(Kind.RENAME, "rename", path=0, path2=1),
    264: Call(Kind.RENAME, "rename", dirfd=0, path=1, dirfd2=2, path2=3),  # renameat
    316: Call(Kind.RENAME, "rename", dirfd=0, path=1, dirfd2=2, path2=3, flags=4),  # renameat2
    83: Call(Kind.MAKE, "mkdir", path=0, mode=1),
    258: Call(Kind.MAKE, "mkdir", dirfd=0, path=1, mode=2),  # mkdirat
    133: Call(Kind.MAKE, "mknod", path=0, mode=1),
    259: Call(Kind.MAKE, "mknod", dirfd=0, path=1, mode=2),  # mknodat
    88: Call(Kind.MAKE, "symlink", content=0, path=1),
    266: Call(Kind.MAKE, "symlink", content=0, dirfd=1, path=2),  # symlinkat
    86: Call(Kind.LINK, "link", path=0, path2=1),
    265: Call(Kind.LINK, "link", dirfd=0, path=1, dirfd2=2, path2=3),  # linkat
    90: Call(Kind.PATH, "chmod", path=0, mode=1),
    91: Call(Kind.FD, "chmod", fd=0, mode=1),  # fchmod
    268: Call(Kind.PATH, "chmod", dirfd=0, path=1, mode=2),  # fchmodat
    452: Call(Kind.PATH, "chmod", dirfd=0, path=1, mode=2),  # fchmodat2
    92: Call(Kind.PATH, "chown", path=0, owner=1),
    93: Call(Kind.FD, "chown", fd=0, owner=1),  # fchown
    94: Call(Kind.PATH, "chown", path=0, owner=1),  # lchown
    260: Call(Kind.PATH, "chown", dirfd=0, path=1, owner=2),  # fchownat
    132: Call(Kind.PATH, "utimens", path=0),  # utime
    235: Call(Kind.PATH, "utimens", path=0),  # utimes
    261: Call(Kind.PATH, "utimens", dirfd=0, path=1),  # futimesat
    280: Call(Kind.PATH, "utimens", dirfd=0, path=1),  # utimensat
    188: Call(Kind.PATH, "setxattr", path=0, name=1),
    189: Call(Kind.PATH, "setxattr", path=0, name=1),  # lsetxattr
    190: Call(Kind.FD, "setxattr", fd=0, name=1),  # fsetxattr
    463: Call(Kind.PATH, "setxattr", dirfd=0, path=1, name=3),  # setxattrat
    197: Call(Kind.PATH, "removexattr", path=0, name=1),
    198: Call(Kind.PATH, "removexattr", path=0, name=1),  # lremovexattr
    199: Call(Kind.FD, "removexattr", fd=0, name=1),  # fremovexattr
    466: Call(Kind.PATH, "removexattr", dirfd=0, path=1, name=3),  # removexattrat
    49: Call(Kind.MAKE, "bind", path=1),  # the socket's address has the path
    469: Call(Kind.PATH, "setflags", dirfd=0, path=1),  # file_setattr
    16: Call(Kind.CONTROL, "setflags", fd=0),  # ioctl; FICLONE and FICLONERANGE are clone
    59: Call(Kind.EXEC),  # execve
    322: Call(Kind.EXEC),  # execveat
    165: Call(Kind.MOUNT),  # mount
    166: Call(Kind.MOUNT),  # umount2
    155: Call(Kind.MOUNT),  # pivot_root
    429: Call(Kind.MOUNT),  # move_mount
    442: Call(Kind.MOUNT),  # mount_setattr
    432: Call(Kind.MOUNT),  # fsmount
    467: Call(Kind.MOUNT),  # open_tree_attr
    161: Call(Kind.MOUNT),  # chroot: paths are shown from another root
    167: Call(Kind.UNCOVERED, variant=Uncovered.KERNEL),  # swapon
    168: Call(Kind.UNCOVERED, variant=Uncovered.KERNEL),  # swapoff
    163: Call(Kind.UNCOVERED, variant=Uncovered.KERNEL),  # acct
    179: Call(Kind.UNCOVERED, variant=Uncovered.KERNEL),  # quotactl
    443: Call(Kind.UNCOVERED, variant=Uncovered.KERNEL),  # quotactl_fd
    320: Call(Kind.UNCOVERED, variant=Uncovered.KERNEL),  # kexec_file_load
    426: Call(Kind.UNCOVERED, variant=Uncovered.IO_URING),  # io_uring_enter
    209: Call(Kind.UNCOVERED, variant=Uncovered.AIO),  # io_submit
    221: Call(Kind.MARKER, fd=0),  # fadvise64
}

# Done by a hook of its own rather than by a row: exec by sched_process_exec, where the file is known.
HOOKED_OPS = ("exec",)


def operations() -> tuple[str, ...]:
    """Every operation this backend can report, in the table's order."""
    # create is an open that made its file, exchange and rmdir are variants of rename and unlink.
    derived = {
        "open": ("create", "open"),
        "rename": ("rename", "exchange"),
        "unlink": ("unlink",),
        "setflags": ("setflags", "clone"),
    }
    named = {"read": None, "write": None}
    for call in CALLS.values():
        if call.op != "unknown" and call.kind < Kind.MOUNT:
            named.update(dict.fromkeys(derived.get(call.op, (call.op,))))
    return (*named, *HOOKED_OPS)
