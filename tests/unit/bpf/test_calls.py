"""Every system call that the kernel has is in the table, or named here as none on files; 32-bit ones, too."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from fsmon_bpf.rows import COMPAT_ROWS, ROWS
from fsmon_bpf.syscalls import Kind

# Shell patterns, a call with its relatives.
NO_OPERATION = """
    access close* dup dup2 dup3 faccessat* fcntl* fdatasync flock fsync lseek _llseek sync* readahead
    stat* fstat* lstat* oldstat oldfstat oldlstat newfstatat statx ustat statfs* fstatfs* statmount
    listmount readlink* getxattr* lgetxattr fgetxattr listxattr* llistxattr flistxattr file_getattr listns
    getcwd chdir fchdir umask name_to_handle_at lookup_dcookie cachestat inotify_* fanotify_* epoll_* poll
    ppoll* select pselect6* _newselect eventfd* signalfd* timerfd_* userfaultfd pipe* tee vmsplice fsopen
    fsconfig fspick open_tree unshare setns landlock_* lsm_* seccomp sysfs brk madvise process_madvise
    mincore mlock* munlock* munmap mremap msync mbind *mempolicy* migrate_pages move_pages
    remap_file_pages map_shadow_stack mseal memfd_* process_vm_* process_mrelease mq_* msg* sem* shm* ipc
    futex* pkey_alloc pkey_free membarrier rseq* io_setup io_destroy io_cancel io_getevents io_pgetevents*
    io_uring_setup io_uring_register socket socketpair connect listen accept* getsock* setsockopt
    getpeername send sendto sendm* recv* shutdown bpf perf_event_open kcmp ptrace pidfd_* keyctl add_key
    request_key init_module delete_module kexec_load reboot personality syslog vhangup sethostname
    setdomainname iopl ioperm modify_ldt arch_prctl prctl *thread_area capget capset uprobe uretprobe
    clone* fork vfork exit* wait* kill tkill tgkill pause nanosleep alarm *itimer timer_* clock_* time
    times stime gettimeofday settimeofday adjtimex *sig* ?[gs]etmask get*id* *pgrp set*id* getgroups*
    setgroups* *priority ioprio_* sched_* *rlimit* getrusage sysinfo *uname getcpu getrandom
    restart_syscall *robust_list nice idle vm86*
"""
# Numbers that Linux has kept of calls that it has not, or never had.
GONE = """
    break stty gtty ftime prof lock mpx ulimit profil create_module get_kernel_syms query_module bdflush
    afs_syscall _sysctl nfsservctl getpmsg putpmsg tuxcall security vserver epoll_ctl_old epoll_wait_old
"""
ONLY = {64: ["uselib"], 32: ["fadvise64*"]}  # the 64-bit fadvise64 is our marker


def calls(bits: int) -> dict[str, int]:
    text = Path(f"/usr/include/x86_64-linux-gnu/asm/unistd_{bits}.h").read_text()
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}


def is_listed(name: str, bits: int) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in [*NO_OPERATION.split(), *GONE.split(), *ONLY[bits]])


@pytest.mark.parametrize(("bits", "first"), [(64, 0), (32, COMPAT_ROWS)])
def test_every_call_on_files_is_decoded_or_counted(bits: int, first: int) -> None:
    known = calls(bits)
    in_table = {name for name, number in known.items() if first + number in ROWS}
    listed = {name for name in known if is_listed(name, bits)}
    assert len(known) > 350
    assert known.keys() - in_table - listed == set()
    assert in_table & listed == set()


def test_a_32_bit_call_has_the_row_of_its_64_bit_name() -> None:
    names = {number: name for name, number in calls(64).items()}
    renamed = {
        "umount": "umount2", "readdir": "getdents", "socketcall": "bind", "mmap2": "mmap",
        "sendfile64": "sendfile", "utimensat_time64": "utimensat",
    }  # fmt: skip
    for name, number in calls(32).items():
        if (row := ROWS.get(COMPAT_ROWS + number)) and row[0] in names:
            plain = renamed.get(name) or re.sub("^(.*(?:truncate|chown).*?)(64|32)$", r"\1", name)
            assert names[row[0]] == plain


def test_both_umounts_void_verdicts() -> None:
    assert {ROWS[COMPAT_ROWS + number][1].kind for number in (22, 52)} == {Kind.MOUNT}
