/* Through which mount a path operation went: the inode does not say, the call's argument does.
 *
 * Where a mount that was not looked at may be the one, s->mount_unsure is set. */

#define MOUNTS_LOOKED_AT 256 /* of the file system, in all name spaces */
#define MOUNT_POINT_DEPTH 32
#define MOUNT_POINT_CAP 256

#ifdef MOUNT_NEXT_FOR_SB /* since 6.17 the mounts of a super block hang on plain pointers */
static __always_inline u64 first_mount(u64 sb) {
    return read64(sb + SB_MOUNTS);
}
static __always_inline u64 next_mount(u64 sb, u64 mount) {
    return read64(mount + MOUNT_NEXT_FOR_SB);
}
#else
static __always_inline u64 listed_mount(u64 sb, u64 node) {
    return node == sb + SB_MOUNTS ? 0 : node - MOUNT_INSTANCE;
}
static __always_inline u64 first_mount(u64 sb) {
    return listed_mount(sb, read64(sb + SB_MOUNTS));
}
static __always_inline u64 next_mount(u64 sb, u64 mount) {
    return listed_mount(sb, read64(mount + MOUNT_INSTANCE));
}
#endif

/* One more than the length of the mount point's path, as the task sees it, if the argument begins with it, else 0:
 * also where the mount point does not lie below the task's root. 1 for the mount that holds the root. */
static __always_inline u32 matching_mount_point(struct scratch *s, u64 mount, struct path_buffer *argument,
                                                struct path_buffer *buffer) {
    struct walk *walk = &s->walk;
    walk->position = PATH_CAP - 1;
    walk->dentry = read64(mount + MOUNT_MNT + VFSMOUNT_ROOT);
    walk->mnt = mount + MOUNT_MNT;
    if (walk->mnt == walk->root_mnt) return 1;
    u32 below_root = 0;
    walk->state = WALK_DEEP;
    for (int i = 0; i < MOUNT_POINT_DEPTH; i++) {
        FORGET_REGISTERS;
        u64 dentry = walk->dentry, mnt = walk->mnt;
        if (dentry == walk->root_dentry && mnt == walk->root_mnt) {
            below_root = 1;
            break;
        }
        struct dentry_block block = {};
        bpf_probe_read_kernel(&block, sizeof(block), (void *)(dentry + DENTRY_PARENT));
        if (dentry == read64(mnt + VFSMOUNT_ROOT)) {
            u64 up = read64(mnt - MOUNT_MNT + MOUNT_PARENT);
            if (up == mnt - MOUNT_MNT || !up) {
                walk->state = WALK_UNREACHABLE;
                break;
            }
            walk->dentry = read64(mnt - MOUNT_MNT + MOUNT_MOUNTPOINT);
            walk->mnt = up + MOUNT_MNT;
            continue;
        }
        if (prepend(walk, buffer, block.name, (block.hash_len >> 32) & 255)) return 0;
        walk->dentry = block.parent;
    }
    u32 start = within(walk->position, PATH_CAP);
    u32 len = PATH_CAP - 1 - start;
    if (!below_root || len > MOUNT_POINT_CAP) {
        if (walk->state != WALK_UNREACHABLE) s->mount_unsure = 1;
        return 0;
    }
    u64 differs = 0;
    for (u32 at = 0; at < MOUNT_POINT_CAP; at += 8) {
        if (at >= len) break;
        u32 left = len - at;
        u64 mask = left < 8 ? (1ULL << (8 * left)) - 1 : ~0ULL;
        u64 a = *(u64 *)(buffer->bytes + within(start + at, PATH_CAP));
        u64 b = *(u64 *)(argument->bytes + at);
        differs |= (a ^ b) & mask;
    }
    char after = argument->bytes[within(len, PATH_CAP)];
    if (differs || (len && after && after != '/')) return 0;
    return len + 1;
}

/* The vfsmount for a dentry of super block sb, named by the path in the argument buffer.
 *
 * A relative path stays in the mount it starts from, when that shows the same file system. Else: the mount in
 * the task's namespace; of several, the one whose mount point the argument begins with. 0 where none is known. */
static __always_inline u64 find_mount(struct scratch *s, void *task, u64 sb, u32 dirfd,
                                      struct path_buffer *argument) {
    u64 fs = 0, nsproxy = 0, start = 0;
    LOAD64(fs, task, TASK_FS);
    LOAD64(nsproxy, task, TASK_NSPROXY);
    if (!fs || !nsproxy) return 0;
    task_root(task, &s->walk);
    u32 absolute = argument->bytes[0] == '/';
    s32 fd = (s32)s->args[dirfd & 7];
    if (absolute) start = s->walk.root_mnt;
    else if ((dirfd & 7) == 7 || fd < 0) start = read64(fs + FS_PWD);
    else {
        u64 file = file_of(task, fd);
        start = file ? read64(file + FILE_PATH) : 0;
    }
    u32 same = start && read64(start + VFSMOUNT_SB) == sb;
    if (same && !absolute) return start;
    s->start = same ? start : 0;
    u64 ns = read64(nsproxy + NSPROXY_MNT_NS);
    s->found = 0;
    s->node = first_mount(sb);
    for (int i = 0; i < MOUNTS_LOOKED_AT; i++) {
        FORGET_REGISTERS;
        u64 mount = s->node;
        u32 found = s->found;
        if (!mount) break;
        if (read64(mount + MOUNT_NS) == ns) {
            if (found >= MOUNTS_COMPARED) break;
            s->candidates[within(found, MOUNTS_COMPARED)] = mount;
            s->found = found + 1;
        }
        s->node = next_mount(sb, mount);
    }
    FORGET_REGISTERS;
    if (s->node || (!s->found && !s->start)) s->mount_unsure = 1;
    if (!s->found) return s->start;
    s->best = s->start ? s->start - MOUNT_MNT : s->candidates[0];
    s->best_len = 0;
    struct path_buffer *buffer = &s->buffers[BUFFER_NAME];
    if (s->found > 1 && !absolute) s->mount_unsure = 1;
    if (s->found == 1 || !absolute) return s->best + MOUNT_MNT;
    for (u32 i = 0; i < MOUNTS_COMPARED; i++) {
        FORGET_REGISTERS;
        if (i >= s->found) break;
        u64 mount = s->candidates[i];
        u32 len = matching_mount_point(s, mount, argument, buffer);
        if (len <= s->best_len) continue;
        s->best_len = len;
        s->best = mount;
    }
    if (s->best_len || s->start) return s->best + MOUNT_MNT;
    if (s->mount_unsure) return 0;
    s->mount_unsure = 1; /* the path led there by a symbolic link */
    return s->best + MOUNT_MNT;
}
