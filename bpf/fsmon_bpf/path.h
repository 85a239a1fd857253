/* The full path of a dentry in a mount, as the task sees it (its root is "/").
 *
 * What d_path does (fs/d_path.c, prepend_path), without its locks. A dentry's own sequence count says whether its
 * name was changed while it was read: read again, it is the old or the new one and never parts of both. */

#define PATH_DEPTH 128

enum { WALK_DONE, WALK_DEEP, WALK_LONG, WALK_UNREACHABLE };

/* d_parent, d_name.hash_len, d_name.name are adjacent (include/linux/dcache.h): one read a level. */
struct dentry_block {
    u64 parent, hash_len, name, inode;
};

/* All that a walk needs of a dentry, in one read. */
struct dentry_head {
    u64 words[(DENTRY_INODE + 8) / 8];
};

/* What d_unlinked says (include/linux/dcache.h): no longer hashed, and not the root of its file system. */
static __always_inline u32 is_unlinked(u64 dentry) {
    return !read64(dentry + DENTRY_HASH_PPREV) && read64(dentry + DENTRY_PARENT) != dentry;
}

static __always_inline void task_root(void *task, struct walk *walk) {
    u64 fs = 0;
    LOAD64(fs, task, TASK_FS);
    walk->root_mnt = fs ? read64(fs + FS_ROOT) : 0;
    walk->root_dentry = fs ? read64(fs + FS_ROOT + 8) : 0;
}

/* Puts "/" and len bytes in front of what the buffer holds; len is at most 255. */
static __always_inline int prepend(struct walk *walk, struct path_buffer *buffer, u64 name, u32 len) {
    u32 position = walk->position;
    if (position < len + 1) return -1;
    position -= len + 1;
    walk->position = position;
    buffer->bytes[within(position, PATH_CAP)] = '/';
    bpf_probe_read_kernel(&buffer->bytes[within(position + 1, PATH_CAP)], within(len, 256), (void *)name);
    return 0;
}

/* walk: dentry, mnt, root_* and position set by the caller; leaves position and state. */
static __always_inline void prepend_path(struct walk *walk, struct path_buffer *buffer) {
    walk->state = WALK_DEEP;
    walk->mnt_root = read64(walk->mnt + VFSMOUNT_ROOT);
    for (int i = 0; i <= PATH_DEPTH; i++) { /* the last turn may find the root */
        FORGET_REGISTERS;
        u64 dentry = walk->dentry, mnt = walk->mnt;
        if (dentry == walk->root_dentry && mnt == walk->root_mnt) {
            walk->state = WALK_DONE;
            break;
        }
        struct dentry_head head = {};
        bpf_probe_read_kernel(&head, sizeof(head), (void *)dentry);
        u32 seq = *(u32 *)((char *)&head + DENTRY_SEQ), position = walk->position;
        struct dentry_block block = *(struct dentry_block *)((char *)&head + DENTRY_PARENT);
        if (dentry == block.parent || dentry == walk->mnt_root) {
            u64 mount = mnt - MOUNT_MNT;
            u64 up = read64(mount + MOUNT_PARENT);
            if (up == mount || !up) { /* the root of the mount namespace, or a mount that is in none */
                walk->state = WALK_DONE;
                break;
            }
            walk->dentry = read64(mount + MOUNT_MOUNTPOINT);
            walk->mnt = up + MOUNT_MNT;
            walk->mnt_root = read64(walk->mnt + VFSMOUNT_ROOT);
            continue;
        }
        if (prepend(walk, buffer, block.name, (block.hash_len >> 32) & 255)) {
            walk->state = WALK_LONG;
            break;
        }
        if ((seq & 1) || read32(dentry + DENTRY_SEQ) != seq) {
            walk->position = position;
            continue;
        }
        walk->dentry = block.parent;
    }
}

/* The target's path as text in the buffer. */
static __always_inline void path_of(struct scratch *s, void *task, struct target *target,
                                    struct path_buffer *buffer, struct text *path) {
    struct walk *walk = &s->walk;
    task_root(task, walk);
    walk->position = PATH_CAP - 1;
    walk->dentry = target->dentry;
    walk->mnt = target->mnt;
    if (target->named) prepend(walk, buffer, (u64)target->name, target->name_len);
    prepend_path(walk, buffer);
    u32 cut = walk->state == WALK_DEEP || walk->state == WALK_LONG || !target->mnt;
    if (cut) s->event.path_truncated = 1;
    if (walk->position == PATH_CAP - 1) prepend(walk, buffer, 0, 0);
    path->at = (u64)buffer->bytes + within(walk->position, PATH_CAP);
    path->len = PATH_CAP - 1 - within(walk->position, PATH_CAP);
    if (cut && path->len > 1) { /* what is left does not begin at the root */
        path->at += 1;
        path->len -= 1;
    }
}
