/* What the programs share: settings from user space, per-CPU scratch, counters.
 */

/* A system call's row in rows.py; every u8 after variant is the index of an argument, 7 = none. number: of the 64-bit
 * call that does the same. */
struct call_row {
    u8 kind, op, variant, fd, fd2, dirfd, path, dirfd2, path2, content;
    u8 flags, how, mode, owner, offset, length, prot, name;
    u16 number;
};
BPF_ARRAY(calls, struct call_row, 2 * COMPAT_ROWS);

enum setting {
    SETTING_WALL_OFFSET, /* ns to add to the boot clock for wall time; user space refreshes it */
    SETTING_EPOCH,       /* cached verdicts of an older epoch are void */
    SETTING_OPS,         /* bit per operation that is wanted */
    SETTING_MARKER_PID,  /* whose fadvise64 names an inode for us */
    SETTING_GENERATION,  /* who these programs are; 0: they report whatever the turn says: see turn.h */
    SETTINGS
};
BPF_ARRAY(settings, u64, SETTINGS);

static __always_inline u64 setting(u32 which) {
    int key = which;
    u64 *value = settings.lookup(&key);
    return value ? *value : 0;
}

/* Where programs outlive their process, some maps are shared by all that are attached at a time: PINS is then the
 * directory in which they are pinned. */
#ifdef PINS
#define SHARED(type, name) type ":" PINS "/" name
#else
#define SHARED(type, name) type
#endif

/* Processes whose operations are never reported: our own, and those asked for. By pid: when it started, in clock
 * ticks as /proc tells it, so that the next process of that pid is not taken for it; 0 stands for any. */
BPF_TABLE(SHARED("hash", "ignored"), u32, u64, ignored, 1024);
#define NS_A_TICK 10000000 /* USER_HZ is 100 on every x86-64 */

/* How far user space has released the ring: kept here to outlive it. Position in bytes, and the sequence number
 * of the record there. */
struct cursor {
    u64 position, seq;
};
BPF_ARRAY(cursors, struct cursor, 1);

/* An inode as the kernel names it: not stat's st_dev, which differs on overlayfs and btrfs. */
struct inode_key {
    u64 ino;
    u32 dev;
    u32 generation;
};
BPF_ARRAY(marker, struct inode_key, 1);

/* A name in a directory: zeros follow it. */
struct name_key {
    struct inode_key dir;
    char name[256];
};

/* A file an operation is about. Where an operation makes or removes a name, dentry is the directory's and
 * name holds the last component. */
struct target {
    u64 dentry, mnt, inode, ino, sb;
    u32 dev, generation, mode, nlink;
    u32 named; /* name is set: path = path of dentry + "/" + name */
    u32 name_len;
    char name[256];
};

/* Where a walk stands. All its state is in memory: kept in registers, 32 levels exceed the verifier. */
struct walk {
    u64 dentry, mnt, mnt_root, sb, root_dentry, root_mnt;
    u32 position, state;
};

/* A component of a path in a buffer. In memory, since in registers each "/" doubles the verifier's states. */
struct component {
    volatile u32 at, end;
};

/* What a name is compared by, where many are: all of it up to 32 bytes. */
#define ENDS 16
struct name_ends {
    u32 len, some;
    u64 head[ENDS / 4], tail[ENDS / 4]; /* twice what is used: slack for a masked length */
};

/* A path grows from the end of its buffer towards the front; the slack takes a masked copy of a component. */
#define PATH_CAP 4096
struct path_buffer {
    char bytes[PATH_CAP + 512];
};
/* Which buffer is for what. */
enum { BUFFER_PATH, BUFFER_TARGET, BUFFER_ARGUMENT, BUFFER_EXE, BUFFER_NAME, BUFFERS };

/* What is read once a thread and program, or once a thread and cgroup, and not once an event. */
#define EXE_CAP 512
#define CONTAINER_ID 64
struct process_cache {
    u64 exe_file, exec_id; /* a file's address may be used again, an exec id counts the thread's execs */
    u64 exe_parent, exe_hash_len, epoch; /* another: the program, or a directory above it, was renamed */
    u32 exe_len, has_container;
    u64 cgroup_id;
    char container_id[CONTAINER_ID];
    char exe[EXE_CAP];
};
BPF_TASK_STORAGE(process_caches, struct process_cache);

#define MOUNTS_COMPARED 8
#define CGROUP_NAME 256 /* a power of two; longer names are no container's */

struct scratch {
    u64 args[8]; /* args[6], args[7] stay 0 */
    s64 ret;
    u32 nr;
    u32 side; /* PAIR: which of the two files is being reported */
    struct call_row row;
    struct file_event event;
    struct target file, other, dir;
    struct name_key given; /* the name that the operation gives to a file */
    struct walk walk;
    struct component last;
    struct name_ends name, above; /* of the argument's last component, and of the one before it */
    u32 has_other;                /* target_path is the path of other */
    u64 node;                     /* where a list is being followed */
    u64 start; /* the directory, or the mount, that the argument begins in, where that can be the one meant */
    u64 candidates[MOUNTS_COMPARED];
    u64 best; /* of candidates seen so far, and how good it is */
    u32 best_len, found;
    u32 mount_unsure;                    /* it may be one that was not looked at */
    u32 rank, best_rank, ties, pins;     /* ties: others that are as good */
    u32 place;                           /* what is_either_watched has found */
    volatile u32 parent, victim, second; /* indices of noted inodes; in memory, or the verifier tries each */
    u32 locked;                          /* by the scheduler: nothing may be allocated */
    char comm[16];
    char cgroup_name[CGROUP_NAME + 8]; /* slack for a masked read of eight bytes */
    struct path_buffer buffers[BUFFERS];
    struct record record;
};
/* A working place a CPU, for raw tracepoints only: they run with preemption off. A plain array, since a per-CPU
 * array's values end at 32 KiB. */
BPF_ARRAY(scratches, struct scratch, CPUS);

static __always_inline struct scratch *scratch_here(void) {
    int key = bpf_get_smp_processor_id();
    return scratches.lookup(&key);
}

#define SOCKADDR_PATH 2 /* in struct sockaddr_un, after the family */

static __always_inline void read_registers(struct scratch *s, void *regs, u32 index) {
    if (index >= COMPAT_ROWS) {
        LOAD32(s->args[0], regs, REGS_BX);
        LOAD32(s->args[1], regs, REGS_CX);
        LOAD32(s->args[2], regs, REGS_DX);
        LOAD32(s->args[3], regs, REGS_SI);
        LOAD32(s->args[4], regs, REGS_DI);
        LOAD32(s->args[5], regs, REGS_BP);
        return;
    }
    LOAD64(s->args[0], regs, REGS_DI);
    LOAD64(s->args[1], regs, REGS_SI);
    LOAD64(s->args[2], regs, REGS_DX);
    LOAD64(s->args[3], regs, REGS_R10);
    LOAD64(s->args[4], regs, REGS_R8);
    LOAD64(s->args[5], regs, REGS_R9);
}

#define SOCKETCALL (COMPAT_ROWS + 102)
#define SYS_BIND 2 /* include/uapi/linux/net.h */

/* The address that bind was given. i386's socketcall has its arguments in memory: 0 if it is no bind. */
static __always_inline u64 bound_address(void *regs, u32 index) {
    u64 address = 0;
    u32 which = 0, second = 0;
    if (index < COMPAT_ROWS) {
        LOAD64(address, regs, REGS_SI);
        return address;
    }
    LOAD32(address, regs, REGS_CX);
    if (index != SOCKETCALL) return address;
    LOAD32(which, regs, REGS_BX);
    if (which == SYS_BIND) bpf_probe_read_user(&second, sizeof(second), (void *)(address + sizeof(second)));
    return second;
}

/* The six arguments of the system call of that row, in order. */
static __always_inline void read_args(struct scratch *s, void *regs, u32 index, u32 op) {
    read_registers(s, regs, index);
    if (op == OPERATION_BIND) s->args[1] = bound_address(regs, index) + SOCKADDR_PATH;
}

static __always_inline void no_row(struct scratch *s) {
    __builtin_memset(&s->row, 7, sizeof(s->row)); /* no argument means anything */
    s->row.kind = KIND_NONE;
}

enum stage { STAGE_EMITTED, STAGE_RING_FULL, STAGE_OVERSIZE, STAGE_STORAGE, STAGE_OVERTAKEN, STAGES };
BPF_PERCPU_ARRAY(outcomes, u64, STAGES *OPERATIONS);
BPF_PERCPU_ARRAY(uncovered, u64, 8);

/* Atomic, though per CPU: an LSM program may be preempted by another on its CPU. */
static __always_inline void count_outcome(u32 stage, u32 op) {
    int key = stage * OPERATIONS + op;
    u64 *count = outcomes.lookup(&key);
    if (count) __sync_fetch_and_add(count, 1);
}

static __always_inline void count_uncovered(u32 why) {
    int key = why;
    u64 *count = uncovered.lookup(&key);
    if (count) __sync_fetch_and_add(count, 1);
}
