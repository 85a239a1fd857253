/* The inodes that a path operation really changes.
 *
 * From Linux 6.13 on, the timestamp tracepoints name every inode whose change time is set. During unlink,
 * rename, link, mkdir, chmod … these are the victim and its directory, whatever symbolic links, ".." or bind
 * mounts the path went through, and while they are named the tree is still as it was before the call. */

#define NOTED 4
#define ALIASES 8

struct notes {
    u32 nr, count, overlay, spare;
    u64 made; /* the newest inode that had no name: made by the call, or just read from disk on the way */
    struct noted inodes[NOTED];
};
BPF_TASK_STORAGE(noted_inodes, struct notes);

/* The dentry by which the call named the inode: of several names one that ends as the argument does, and of
 * these the one with most references, since the running call holds one. Descriptors hold them too: of two hard
 * links of one name in two directories, one held open, the other may be taken for it. */
#define SAME_NAME 0x10000
static __always_inline u64 alias_of(struct scratch *s, u64 inode, u64 argument_at) {
    u64 first = read64(inode + INODE_ALIASES);
    if (!first) return 0;
    if (!read64(first)) return first - DENTRY_ALIAS;
    struct path_buffer *argument = &s->buffers[BUFFER_ARGUMENT], *name = &s->buffers[BUFFER_NAME];
    u32 len = last_component(argument, read_argument(argument, argument_at), &s->last);
    s->node = first;
    s->best = first;
    s->best_len = 0;
    for (int i = 0; i < ALIASES; i++) {
        FORGET_REGISTERS;
        u64 node = s->node;
        if (!node) break;
        u64 qstr[2] = {}; /* hash and length, name */
        bpf_probe_read_kernel(qstr, sizeof(qstr), (void *)(node - DENTRY_ALIAS + DENTRY_NAME));
        u32 score = read32(node - DENTRY_ALIAS + DENTRY_COUNT) & (SAME_NAME - 1);
        if ((qstr[0] >> 32) == len) {
            bpf_probe_read_kernel(name->bytes, within(len, 256), (void *)qstr[1]);
            if (same_name(name->bytes, argument, s->last.at, len)) score |= SAME_NAME;
        }
        if (score > s->best_len) {
            s->best_len = score;
            s->best = node;
        }
        s->node = read64(node);
    }
    return s->best - DENTRY_ALIAS;
}

/* Runs in the context of the call, the inodes still locked by it. */
static __always_inline int note_inode(u64 inode) {
    void *task = (void *)bpf_get_current_task_btf();
    u32 flags = 0;
    LOAD32(flags, task, TASK_FLAGS);
    if (flags & PF_KTHREAD) return 0;
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    int key = call_index(task, regs);
    struct call_row *row = calls.lookup(&key);
    if (!row || row->kind < KIND_PATH || row->kind > KIND_RENAME) return 0;
    struct scratch *s = scratch_here();
    if (!s) return 0;
    struct notes *notes =
        noted_inodes.task_storage_get((struct task_struct *)task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!notes) {
        count_outcome(STAGE_STORAGE, row->op);
        return 0;
    }
    if (notes->nr != key || notes->count > NOTED) {
        notes->nr = key;
        notes->count = 0;
        notes->made = 0;
        notes->overlay = 0;
    }
    /* overlayfs changes the file below first, then names its own inode: the outer one is meant. */
    u64 sb = read64(inode + INODE_SB);
    u32 overlay = read64(sb + SB_MAGIC) == OVERLAYFS_SUPER_MAGIC;
    if (overlay && !notes->overlay) {
        notes->overlay = 1;
        notes->count = 0;
    }
    if (!overlay && notes->overlay) return 0;
    u32 count = notes->count;
    for (u32 i = 0; i < NOTED; i++) {
        if (i < count && notes->inodes[i].inode == inode) return 0;
    }
    if (count >= NOTED) return 0;
    read_args(s, regs, key, row->op);
    u64 dentry = alias_of(s, inode, s->args[row->path & 7]);
    if (!dentry) {
        notes->made = inode;
        return 0;
    }
    fill_noted(&notes->inodes[within(count, NOTED)], inode, sb, dentry);
    notes->count = count + 1;
    return 0;
}

/* What the call that ends now has noted, or null; the caller empties it with forget. */
static __always_inline struct notes *notes_of(void *task, u32 nr) {
    struct notes *notes = noted_inodes.task_storage_get((struct task_struct *)task, 0, 0);
    if (!notes || notes->nr != nr || !notes->count) return 0;
    return notes;
}

static __always_inline void forget(struct notes *notes) {
    notes->count = 0;
    notes->made = 0;
    notes->overlay = 0;
}

static __always_inline struct noted *noted_at(struct notes *notes, u32 index) {
    return &notes->inodes[within(index, NOTED)];
}
