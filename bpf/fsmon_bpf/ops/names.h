/* Operations that name files by path: what they changed was noted while they ran (notes.h). */

#define AT_REMOVEDIR 0x200
#define RENAME_EXCHANGE 2

static __always_inline void take_noted(struct target *target, struct noted *noted) {
    target->inode = noted->inode;
    target->sb = noted->sb;
    target->ino = noted->ino;
    target->dev = noted->dev;
    target->generation = noted->generation;
    target->mode = noted->mode;
    target->nlink = noted->nlink;
}

static __always_inline void take_name(struct target *target, u64 dir, char *name, u32 len) {
    target->dentry = dir;
    target->named = 1;
    target->name_len = len & 255;
    bpf_probe_read_kernel(target->name, within(len, 256), name);
}

/* The argument's last component becomes the target's name. */
static __always_inline int take_argument_name(struct scratch *s, struct target *target, u64 dir, u32 argument) {
    struct path_buffer *buffer = buffer_here(BUFFER_ARGUMENT);
    if (!buffer) return 0;
    u32 len = last_component(buffer, read_argument(buffer, s->args[argument & 7]), &s->last);
    if (!len) return 0;
    take_name(target, dir, buffer->bytes + (s->last.at & (PATH_CAP - 1)), len);
    s->event.path_source = PATHSOURCE_ARGUMENT;
    return 1;
}

static __always_inline u64 mount_of(struct scratch *s, void *task, u64 sb, u32 dirfd, u32 path) {
    struct path_buffer *buffer = buffer_here(BUFFER_ARGUMENT);
    if (!buffer) return 0;
    if (!read_argument(buffer, s->args[path & 7])) buffer->bytes[0] = 0;
    return find_mount(s, task, sb, dirfd, buffer);
}

static __always_inline u32 is_directory(u32 mode) {
    return (mode & S_IFMT) == S_IFDIR;
}

/* s->parent: the noted directory that holds the others, NOTED if there is none. Removing a directory notes two:
 * the parent is the one whose inode is another's parent. */
static __always_inline void find_parent(struct scratch *s, struct notes *notes) {
    s->parent = NOTED;
    for (u32 i = 0; i < NOTED; i++) {
        if (i >= notes->count || !is_directory(notes->inodes[i].mode)) continue;
        u32 holds = 0, others = 0;
        for (u32 j = 0; j < NOTED; j++) {
            if (j == i || j >= notes->count) continue;
            others = 1;
            if (notes->inodes[j].parent_inode == notes->inodes[i].inode) holds = 1;
        }
        if (holds || (!others && s->parent == NOTED)) s->parent = i;
    }
}

static __always_inline struct noted *noted_at(struct notes *notes, u32 index) {
    return &notes->inodes[within(index, NOTED)];
}

/* unlink, rmdir, unlinkat */
static __always_inline int do_remove(struct scratch *s, void *task, struct notes *notes) {
    u32 op = s->row.op;
    if (s->row.flags < 6 && (s->args[s->row.flags & 7] & AT_REMOVEDIR)) op = OPERATION_RMDIR;
    find_parent(s, notes);
    s->victim = NOTED;
    for (u32 i = 0; i < NOTED; i++)
        if (i < notes->count && i != s->parent) s->victim = i;
    if (s->victim == NOTED) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    struct noted *noted = noted_at(notes, s->victim);
    /* With hard links the noted name may stand in another directory: the locked one is meant. */
    u64 dir = s->parent < NOTED ? noted_at(notes, s->parent)->dentry : noted->parent;
    begin(s, op, HOOK_SYS_EXIT);
    take_noted(&s->file, noted);
    s->file.mnt = mount_of(s, task, noted->sb, s->row.dirfd, s->row.path);
    if (!is_name_watched(s, &s->file, dir)) return 0;
    if (!is_wanted(op) || is_ignored()) return 0;
    take_name(&s->file, dir, noted->name, noted->name_len);
    s->event.path_source = PATHSOURCE_WALK;
    return 1;
}

/* mkdir, mknod, symlink: the new inode had no name when it was noted, and has one now. */
static __always_inline int do_make(struct scratch *s, void *task, struct notes *notes) {
    s->parent = NOTED;
    for (u32 i = 0; i < NOTED; i++)
        if (i < notes->count && is_directory(notes->inodes[i].mode)) s->parent = i;
    if (s->parent == NOTED) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    u64 dir = noted_at(notes, s->parent)->dentry;
    begin(s, s->row.op, HOOK_SYS_EXIT);
    __builtin_memset(&s->file, 0, sizeof(s->file));
    u32 named = 0;
    u64 inode = notes->made;
    if (inode) {
        u64 first = read64(inode + INODE_ALIASES);
        u64 dentry = first - DENTRY_ALIAS;
        struct dentry_block block = {};
        if (first) bpf_probe_read_kernel(&block, sizeof(block), (void *)(dentry + DENTRY_PARENT));
        if (first && block.inode == inode && block.parent == dir) {
            fill_inode(&s->file, inode);
            take_name(&s->file, dir, (char *)block.name, (block.hash_len >> 32) & 255);
            s->event.path_source = PATHSOURCE_WALK;
            named = 1;
        }
    }
    u64 sb = noted_at(notes, s->parent)->sb;
    s->file.mnt = mount_of(s, task, sb, s->row.dirfd, s->row.path);
    s->file.dev = read32(sb + SB_DEV);
    if (!is_name_watched(s, &s->file, dir)) return 0;
    if (!is_wanted(s->row.op) || is_ignored()) return 0;
    if (!named && !take_argument_name(s, &s->file, dir, s->row.path)) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    fill_details(s);
    if (s->row.content < 6) {
        struct path_buffer *buffer = buffer_here(BUFFER_TARGET);
        if (!buffer) return 0;
        s->event.target_path.len = read_argument(buffer, s->args[s->row.content & 7]);
        s->event.target_path.at = (u64)buffer->bytes;
        s->event.present |= HAS_target_path;
    }
    return 1;
}

/* link: the file that gets another name, and the directory that gets it. */
static __always_inline int do_link(struct scratch *s, void *task, struct notes *notes) {
    s->parent = s->victim = NOTED;
    for (u32 i = 0; i < NOTED; i++) {
        if (i >= notes->count) continue;
        if (is_directory(notes->inodes[i].mode)) s->parent = i;
        else s->victim = i;
    }
    if (s->parent == NOTED || s->victim == NOTED) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    struct noted *noted = noted_at(notes, s->victim);
    u64 dir = noted_at(notes, s->parent)->dentry;
    begin(s, s->row.op, HOOK_SYS_EXIT);
    fill_inode(&s->file, noted->inode);
    s->file.dentry = noted->dentry;
    s->file.mnt = mount_of(s, task, noted->sb, s->row.dirfd2, s->row.path2);
    s->other.mnt = s->file.mnt; /* link(2) crosses no mount */
    void_verdict(&s->file);
    u32 watched = is_watched(s, &s->file);
    if (!is_name_watched(s, &s->file, dir) && !watched) return 0;
    if (!is_wanted(s->row.op) || is_ignored()) return 0;
    s->event.path_source = PATHSOURCE_WALK;
    if (!take_argument_name(s, &s->other, dir, s->row.path2)) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    s->has_other = 1;
    return 1;
}

/* chmod, chown, utimens, xattrs, truncate: one file is changed. */
static __always_inline int do_path(struct scratch *s, void *task, struct notes *notes) {
    struct noted *noted = &notes->inodes[0];
    struct path_buffer *buffer = buffer_here(BUFFER_ARGUMENT);
    if (!buffer) return 0;
    begin(s, s->row.op, HOOK_SYS_EXIT);
    take_noted(&s->file, noted);
    s->file.dentry = noted->dentry;
    s32 fd = (s32)s->args[s->row.dirfd & 7];
    u64 file = 0;
    /* No path, or "" with AT_EMPTY_PATH: the descriptor itself is meant. */
    if (!read_argument(buffer, s->args[s->row.path & 7])) {
        buffer->bytes[0] = 0;
        if (s->row.dirfd < 6 && fd >= 0) file = file_of(task, fd);
    }
    if (file) {
        s->file.mnt = read64(file + FILE_PATH);
        s->file.dentry = read64(file + FILE_PATH + 8);
    } else {
        s->file.mnt = find_mount(s, task, noted->sb, s->row.dirfd, buffer);
    }
    if (!s->file.dentry) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    if (!is_watched(s, &s->file)) return 0;
    if (!is_wanted(s->row.op) || is_ignored()) return 0;
    s->event.path_source = PATHSOURCE_WALK;
    /* The mode is what the call left behind: chmod's own result too. */
    s->file.mode = read32(noted->inode + INODE_MODE) & 0xffff;
    fill_details(s);
    return 1;
}

/* A noted file is what was moved if its dentry now has another parent or name. */
static __always_inline u32 has_moved(struct noted *noted) {
    struct dentry_block block = {};
    bpf_probe_read_kernel(&block, sizeof(block), (void *)(noted->dentry + DENTRY_PARENT));
    return block.inode == noted->inode && (block.parent != noted->parent || block.hash_len != noted->hash_len);
}

static __always_inline int do_rename(struct scratch *s, void *task, struct notes *notes) {
    s->victim = s->second = NOTED;
    for (u32 i = 0; i < NOTED; i++) {
        if (i >= notes->count || !has_moved(&notes->inodes[i])) continue;
        if (s->victim == NOTED) s->victim = i;
        else s->second = i;
    }
    if (s->victim == NOTED) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    u32 exchange = s->row.flags < 6 && (s->args[s->row.flags & 7] & RENAME_EXCHANGE);
    struct path_buffer *argument = buffer_here(BUFFER_ARGUMENT);
    if (!argument) return 0;
    u32 len = last_component(argument, read_argument(argument, s->args[s->row.path & 7]), &s->last);
    if (exchange && s->second < NOTED) {
        /* Both moved: the first argument's is the one that had its name. */
        struct noted *candidate = noted_at(notes, s->second);
        if (candidate->name_len == len && same_name(candidate->name, argument, s->last.at, len)) s->victim = s->second;
    }
    struct noted *noted = noted_at(notes, s->victim);
    u32 op = exchange ? OPERATION_EXCHANGE : OPERATION_RENAME;
    begin(s, op, HOOK_SYS_EXIT);
    take_noted(&s->file, noted);
    s->file.mnt = find_mount(s, task, noted->sb, s->row.dirfd, argument);
    if (is_directory(noted->mode) || exchange) void_verdicts();
    else void_verdict(&s->file);
    s->other.dentry = noted->dentry;
    s->other.mnt = s->file.mnt; /* rename(2) crosses no mount */
    u32 watched = is_name_watched(s, &s->file, noted->parent);
    if (!watched) watched = is_name_watched(s, &s->file, read64(noted->dentry + DENTRY_PARENT));
    if (!watched || !is_wanted(op) || is_ignored()) return 0;
    take_name(&s->file, noted->parent, noted->name, noted->name_len);
    s->event.path_source = PATHSOURCE_WALK;
    s->has_other = 1;
    fill_details(s);
    return 1;
}
