"""Which members of which kernel structs the eBPF programs read, as -D flags for the compiler."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fsmon_bpf.btf import Btf, BtfError


class LayoutError(BtfError):
    """The kernel lacks a member that capture cannot do without."""


# macro: struct, names the member has had. A plus adds the offset of a member of the embedded struct.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "TASK_FILES": ("task_struct", "files"),
    "TASK_FS": ("task_struct", "fs"),
    "TASK_FLAGS": ("task_struct", "flags"),
    "TASK_NSPROXY": ("task_struct", "nsproxy"),
    "TASK_MM": ("task_struct", "mm"),
    "TASK_CRED": ("task_struct", "cred"),
    "TASK_REAL_PARENT": ("task_struct", "real_parent"),
    "TASK_GROUP_LEADER": ("task_struct", "group_leader"),
    "TASK_TGID": ("task_struct", "tgid"),
    "TASK_START_BOOTTIME": ("task_struct", "start_boottime"),
    "TASK_SELF_EXEC_ID": ("task_struct", "self_exec_id"),
    "TASK_THREAD_INFO": ("task_struct", "thread_info"),
    "TASK_CGROUPS": ("task_struct", "cgroups"),
    "CSS_SET_DFL_CGRP": ("css_set", "dfl_cgrp"),
    "CGROUP_SELF": ("cgroup", "self"),
    "CGROUP_KN": ("cgroup", "kn"),
    "CSS_PARENT": ("cgroup_subsys_state", "parent"),
    "KERNFS_NAME": ("kernfs_node", "name"),
    "THREAD_INFO_STATUS": ("thread_info", "status"),
    "FILES_FDT": ("files_struct", "fdt"),
    "FDT_FD": ("fdtable", "fd"),
    "FDT_MAX_FDS": ("fdtable", "max_fds"),
    "FS_ROOT": ("fs_struct", "root"),
    "FS_PWD": ("fs_struct", "pwd"),
    "MM_EXE_FILE": ("mm_struct", "exe_file"),
    "CRED_UID": ("cred", "uid"),
    "CRED_GID": ("cred", "gid"),
    "CRED_EUID": ("cred", "euid"),
    "NSPROXY_MNT_NS": ("nsproxy", "mnt_ns"),
    "NS_INUM": ("ns_common", "inum"),
    "MNT_NS_NS": ("mnt_namespace", "ns"),
    "FILE_PATH": ("file", "f_path", "__f_path"),
    "FILE_INODE": ("file", "f_inode"),
    "FILE_MODE": ("file", "f_mode"),
    "FILE_FLAGS": ("file", "f_flags"),
    "DENTRY_SEQ": ("dentry", "d_seq"),
    "DENTRY_PARENT": ("dentry", "d_parent"),
    "DENTRY_NAME": ("dentry", "d_name"),
    "DENTRY_INODE": ("dentry", "d_inode"),
    "DENTRY_ALIAS": ("dentry", "d_alias", "d_u"),
    "DENTRY_HASH_PPREV": ("dentry", "d_hash"),
    "DENTRY_COUNT": ("dentry", "d_lockref"),
    "INODE_MODE": ("inode", "i_mode"),
    "INODE_NLINK": ("inode", "i_nlink"),
    "INODE_INO": ("inode", "i_ino"),
    "INODE_SB": ("inode", "i_sb"),
    "INODE_GENERATION": ("inode", "i_generation"),
    "INODE_ALIASES": ("inode", "i_dentry"),
    "SB_DEV": ("super_block", "s_dev"),
    "SB_FLAGS": ("super_block", "s_flags"),
    "SB_MAGIC": ("super_block", "s_magic"),
    "SB_ROOT": ("super_block", "s_root"),
    "SB_MOUNTS": ("super_block", "s_mounts"),
    "MOUNT_MNT": ("mount", "mnt"),
    "MOUNT_PARENT": ("mount", "mnt_parent"),
    "MOUNT_MOUNTPOINT": ("mount", "mnt_mountpoint"),
    "MOUNT_NS": ("mount", "mnt_ns"),
    "VFSMOUNT_ROOT": ("vfsmount", "mnt_root"),
    "VFSMOUNT_SB": ("vfsmount", "mnt_sb"),
    "IATTR_VALID": ("iattr", "ia_valid"),
    "BPRM_FILE": ("linux_binprm", "file"),
    "VMA_FILE": ("vm_area_struct", "vm_file"),
    "VMA_FLAGS": ("vm_area_struct", "vm_flags"),
}
# Each of these is defined only where the kernel has it; the C text tests with #ifdef.
_OPTIONAL: dict[str, tuple[str, ...]] = {
    "TASK_LOGINUID": ("task_struct", "loginuid"),  # CONFIG_AUDIT
    "MOUNT_NEXT_FOR_SB": ("mount", "mnt_next_for_sb"),  # since 6.17; a list before
    "MOUNT_INSTANCE": ("mount", "mnt_instance"),
    "TASK_WORKER": ("task_struct", "worker_private"),
    # CONFIG_IO_URING
    "IO_WORKER_WORK": ("io_worker", "cur_work"),
    "IO_REQUEST_WORK": ("io_kiocb", "work"),
    "IO_REQUEST_FILE": ("io_kiocb", "file"),
    "IO_REQUEST_OPCODE": ("io_kiocb", "opcode"),
    "IO_REQUEST_FLAGS": ("io_kiocb", "flags"),
}
_CQE_ARGUMENTS = 3  # since 6.16 io_uring_complete is given the entry itself
# struct hlist_node { next, pprev }: an unhashed dentry has no pprev (include/linux/list_bl.h, d_unhashed).
# struct lockref { spinlock_t lock; int count } (include/linux/lockref.h), without lock debugging.
_ADDED = {"DENTRY_HASH_PPREV": struct.calcsize("P"), "DENTRY_COUNT": 4}


@dataclass(frozen=True)
class Layout:
    """The offsets, by the macro that stands for each in the C text."""

    offsets: Mapping[str, int]

    @classmethod
    def of(cls, btf: Btf) -> "Layout":
        """LayoutError names what this kernel lacks."""
        return cls(dict(_offsets(btf)))

    @property
    def flags(self) -> tuple[str, ...]:
        """The offsets as compiler flags."""
        return tuple(f"-D{macro}={offset}" for macro, offset in self.offsets.items())


def _offsets(btf: Btf) -> Iterator[tuple[str, int]]:
    for macro, (name, *members) in _REQUIRED.items():
        offset = btf.offset_of(name, *members)
        if offset is None:
            raise LayoutError(f"this kernel's struct {name} has none of: {', '.join(members)}")
        yield macro, offset + _ADDED.get(macro, 0)
    for macro, (name, *members) in _OPTIONAL.items():
        offset = btf.offset_of(name, *members) if btf.has_struct(name) else None
        if offset is not None:
            yield macro, offset
    if btf.tracepoint_arguments("io_uring_complete") == _CQE_ARGUMENTS:
        yield "IO_COMPLETE_CQE", 1
