/* Reading kernel memory. Offsets (TASK_FILES …) are -D flags made from BTF by layout.py. */

struct task_struct;

/* From include/linux/fs.h, include/linux/sched.h, include/uapi/linux/stat.h, arch/x86/include/asm/thread_info.h. */
#define FMODE_PATH 0x4000
#define FMODE_STREAM (1 << 21)
#define FMODE_CREATED 0x100000
#define FMODE_NOACCOUNT 0x20000000
#define O_LARGEFILE 0100000
#define PF_KTHREAD 0x00200000
#define TS_COMPAT 0x0002
#define SB_NOUSER (1UL << 31)
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define S_IFMT 00170000
#define S_IFDIR 0040000
#define S_IFLNK 0120000
#define S_IFSOCK 0140000
#define MODE_TYPE(mode) (((mode)&S_IFMT) >> 12)
#define EBADF 9
#define ECANCELED 125

/* struct pt_regs of x86-64 (arch/x86/include/asm/ptrace.h): where a call's arguments and number stay put
 * from entry to exit. */
#define REGS_BP 32
#define REGS_BX 40
#define REGS_R9 64
#define REGS_R8 72
#define REGS_R10 56
#define REGS_AX 80
#define REGS_CX 88
#define REGS_DX 96
#define REGS_SI 104
#define REGS_DI 112
#define REGS_ORIG_AX 120

/* A load through a pointer that the verifier knows (BTF): much cheaper than bpf_probe_read_kernel, and
 * written in assembly because BCC would rewrite the C form into one. */
#define LOAD64(to, base, offset) asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(to) : "r"(base), "i"(offset))
#define LOAD32(to, base, offset) asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(to) : "r"(base), "i"(offset))

/* Where the task's system call has its row, if it has one. */
#define COMPAT_ROWS 512 /* 32-bit calls come after the 64-bit ones */
#define NO_CALL 0xffff
#define X32_CALL 0xfffe
#define X32_BIT 0x40000000
static __always_inline u32 call_index(void *task, void *regs) {
    u64 nr = 0;
    u32 status = 0;
    LOAD64(nr, regs, REGS_ORIG_AX);
    LOAD32(status, task, TASK_THREAD_INFO + THREAD_INFO_STATUS);
    if (nr < COMPAT_ROWS) return status & TS_COMPAT ? nr + COMPAT_ROWS : nr;
    return (nr >> 30) == 1 ? X32_CALL : NO_CALL;
}

/* At the head of a loop whose state is in memory: without it the compiler carries values over in registers and
 * enters the loop in its middle, which 6.1 refuses as a back-edge. */
#define FORGET_REGISTERS asm volatile("" ::: "memory")

static __always_inline u64 read64(u64 at) {
    u64 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), (void *)at);
    return value;
}

static __always_inline u32 read32(u64 at) {
    u32 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), (void *)at);
    return value;
}

/* The open file behind a descriptor of the current task, 0 if there is none. */
static __always_inline u64 file_of(void *task, u32 fd) {
    u64 files = 0, table = 0, slots = 0;
    u32 max = 0;
    LOAD64(files, task, TASK_FILES);
    if (!files) return 0;
    LOAD64(table, files, FILES_FDT);
    LOAD32(max, table, FDT_MAX_FDS);
    if (fd >= max) return 0;
    LOAD64(slots, table, FDT_FD);
    return read64(slots + 8 * (u64)fd);
}
