/* rename: one file moves, or two change places. */

/* A noted file is what was moved if its dentry now has another parent or name. */
static __always_inline u32 has_moved(struct noted *noted) {
    struct dentry_block block = {};
    bpf_probe_read_kernel(&block, sizeof(block), (void *)(noted->dentry + DENTRY_PARENT));
    return block.inode == noted->inode &&
           (block.parent != noted->parent || block.hash_len != noted->hash_len);
}

/* What is itself watched may be what the rename replaces or exchanges: it is noted like the two directories. */
static __always_inline u32 replaces_watched(struct notes *notes, u64 from_dir, u64 to_dir) {
    for (u32 i = 0; i < NOTED; i++) {
        if (i >= notes->count) continue;
        if (notes->inodes[i].dentry == from_dir || notes->inodes[i].dentry == to_dir) continue;
        struct inode_key key = {.ino = notes->inodes[i].ino,
                                .dev = notes->inodes[i].dev,
                                .generation = notes->inodes[i].generation};
        u32 *watch = watches.lookup(&key);
        if (watch && *watch == WATCH_INCLUDE) return 1;
    }
    return 0;
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
    struct path_buffer *argument = &s->buffers[BUFFER_ARGUMENT];
    u32 len = last_component(argument, read_argument(argument, s->args[s->row.path & 7]), &s->last);
    if (exchange && s->second < NOTED) {
        /* Both moved: the first argument's is the one that had its name. */
        struct noted *candidate = noted_at(notes, s->second);
        if (candidate->name_len == len && same_name(candidate->name, argument, s->last.at, len))
            s->victim = s->second;
    }
    struct noted *noted = noted_at(notes, s->victim);
    u32 op = exchange ? OPERATION_EXCHANGE : OPERATION_RENAME;
    begin(s, op, HOOK_SYS_EXIT);
    take_noted(&s->file, noted);
    s->file.mnt = find_mount(s, task, noted->sb, s->row.dirfd, argument);
    if (is_directory(noted->mode) || exchange) void_verdicts();
    s->other.dentry = noted->dentry;
    s->other.mnt = s->file.mnt; /* rename(2) crosses no mount */
    u64 to_dir = read64(noted->dentry + DENTRY_PARENT);
    for (u32 i = 0; i < NOTED; i++) {
        FORGET_REGISTERS;
        if (i < notes->count && has_moved(&notes->inodes[i])) adopt_dentry(s, notes->inodes[i].dentry);
    }
    s->candidates[0] = noted->parent;
    s->candidates[1] = to_dir;
    u32 watched = is_either_watched(s, &s->file, 1);
    if (!watched) watched = replaces_watched(notes, noted->parent, to_dir);
    if (!watched || !is_wanted(op) || is_ignored()) return 0;
    take_name(&s->file, noted->parent, noted->name, noted->name_len);
    s->event.path_source = PATHSOURCE_WALK;
    s->has_other = 1;
    fill_details(s);
    return 1;
}
