/* The inodes that a path operation really changes.
 *
 * From Linux 6.13 on, the timestamp tracepoints name every inode whose change time is set. During unlink,
 * rename, link, mkdir, chmod … these are the victim and its directory, whatever symbolic links, ".." or bind
 * mounts the path went through, and while they are named the tree is still as it was before the call. */

#define NOTED 4

struct notes {
    u32 nr, count, overlay;
    u32 unsure; /* another of the file's names may be meant */
    u64 made;   /* the newest inode that had no name: made by the call, or just read from disk on the way */
    struct noted inodes[NOTED];
};
BPF_TASK_STORAGE(noted_inodes, struct notes);

#include "aliases.h"

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
        notes->overlay = notes->unsure = 0;
    }
    /* overlayfs changes the file below first, then names its own inode: the outer one is meant. */
    u64 sb = read64(inode + INODE_SB);
    u32 overlay = read64(sb + SB_MAGIC) == OVERLAYFS_SUPER_MAGIC;
    if (overlay && !notes->overlay) {
        notes->overlay = 1;
        notes->count = notes->unsure = 0;
    }
    if (!overlay && notes->overlay) return 0;
    u32 count = notes->count;
    for (u32 i = 0; i < NOTED; i++) {
        if (i < count && notes->inodes[i].inode == inode) return 0;
    }
    if (count >= NOTED) return 0;
    read_args(s, regs, key, row->op);
    u64 dentry = alias_of(s, task, notes, inode, row);
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
    notes->overlay = notes->unsure = 0;
}

static __always_inline struct noted *noted_at(struct notes *notes, u32 index) {
    return &notes->inodes[within(index, NOTED)];
}
