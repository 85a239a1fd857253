/* The end of a call that LSM hooks have noted: verdict, paths and result of what it did. */

/* A dentry as it is now into the target. */
static __always_inline void take_dentry(struct target *target, u64 dentry, u64 mnt) {
    u64 inode = read64(dentry + DENTRY_INODE);
    target->named = 0;
    target->dentry = dentry;
    target->mnt = mnt;
    if (inode) fill_inode(target, inode);
}

/* The dentry that shows the new name of what is renamed: its own once it has moved. */
static __always_inline u64 new_name_of(struct hooked *hooked) {
    struct noted *what = &hooked->what;
    struct dentry_block block = {};
    bpf_probe_read_kernel(&block, sizeof(block), (void *)(what->dentry + DENTRY_PARENT));
    return block.parent == what->parent && block.hash_len == what->hash_len ? hooked->other : what->dentry;
}

/* Files that have a new name now: of an exchange both. */
static __always_inline void adopt_named(struct scratch *s, struct hooked *hooked) {
    u32 shape = hooked->shape, moves = shape == SHAPE_RENAMED;
    u32 made = shape == SHAPE_MADE || (hooked->op == OPERATION_OPEN && hooked->mode);
    if (s->ret < 0) return;
    if (made || moves) adopt_dentry(s, hooked->what.dentry);
    if (moves || shape == SHAPE_LINKED) adopt_dentry(s, hooked->other);
}

/* Whether the file, or where its names are or were, is watched. */
static __always_inline u32 judge(struct scratch *s, struct hooked *hooked) {
    struct noted *what = &hooked->what;
    u32 stays = hooked->shape == SHAPE_FILE || hooked->shape == SHAPE_DENTRY;
    s->candidates[0] = stays ? what->dentry : what->parent;
    s->candidates[1] = 0;
    if (hooked->shape == SHAPE_LINKED) s->candidates[1] = read64(hooked->other + DENTRY_PARENT);
    if (hooked->shape == SHAPE_RENAMED) s->candidates[1] = read64(new_name_of(hooked) + DENTRY_PARENT);
    u32 watched = is_either_watched(s, &s->file, !s->ret);
    return watched || (hooked->shape == SHAPE_RENAMED && hooked->mode);
}

static __always_inline u32 is_mount_operation(u32 op) {
    return op == OPERATION_MOUNT || op == OPERATION_UNMOUNT || op == OPERATION_MOVE_MOUNT;
}

/* 1: s->event is to be completed and sent. known: s->ret is this operation's result. */
static __always_inline int do_hooked(struct scratch *s, void *task, struct hooked *hooked, u32 known) {
    struct noted *what = &hooked->what;
    u32 op = hooked->op;
    begin(s, op, hooked->hook);
    take_noted(&s->file, what);
    s->file.mnt = hooked->mnt;
    s->file.dentry = what->dentry;
    if (hooked->shape == SHAPE_DENTRY) {
        u64 file = s->row.fd < 6 ? file_of(task, (u32)s->args[s->row.fd & 7]) : 0;
        s->file.mnt = file ? read64(file + FILE_PATH) : mount_by_argument(s, task, what->sb);
    }
    if (hooked->shape == SHAPE_RENAMED && !s->ret) {
        /* An exchange moves the other one, too: what is replaced has no name any more. */
        u32 exchanged = read64(hooked->other + DENTRY_INODE) && !is_unlinked(hooked->other);
        if (is_directory(what->mode) || exchanged) void_verdicts();
    }
    if (is_mount_operation(op)) void_verdicts();
    if (hooked->shape == SHAPE_MADE) take_dentry(&s->file, what->dentry, hooked->mnt);
    if (read64(s->file.sb + SB_FLAGS) & SB_NOUSER) return 0;
    adopt_named(s, hooked);
    if (!judge(s, hooked)) return 0;
    struct open_how_args how = {};
    if (op == OPERATION_OPEN) {
        if (hooked->nr == NO_CALL) how.flags = hooked->open_flags; /* no arguments say it */
        else how = open_arguments(s);
        if (hooked->mode || (how.flags & O_TMPFILE_BIT)) op = s->event.op = OPERATION_CREATE;
        s->event.open_flags = how.flags;
        s->event.present |= HAS_open_flags;
        if (op == OPERATION_CREATE && hooked->nr != NO_CALL) {
            s->event.new_mode = how.mode & 07777;
            s->event.present |= HAS_new_mode;
        }
    }
    if (op == OPERATION_RENAME && s->row.flags < 6 && (s->args[s->row.flags & 7] & RENAME_EXCHANGE))
        op = s->event.op = OPERATION_EXCHANGE;
    if (op == OPERATION_MMAP && (s->ret > 0 || s->ret < -4095)) s->ret = 0;
    if (!is_wanted(op) || is_ignored()) return 0;
    s->event.path_source = PATHSOURCE_WALK;
    if (op != OPERATION_OPEN && op != OPERATION_CREATE) fill_details(s);
    if (hooked->shape == SHAPE_FILE) {
        s->event.deleted = is_unlinked(s->file.dentry);
        s->file.mode = read32(what->inode + INODE_MODE) & 0xffff;
    }
    if (hooked->shape == SHAPE_REMOVED || hooked->shape == SHAPE_RENAMED)
        take_name(&s->file, what->parent, what->name, what->name_len);
    if (hooked->shape == SHAPE_RENAMED) take_dentry(&s->other, new_name_of(hooked), hooked->mnt);
    if (hooked->shape == SHAPE_LINKED) take_dentry(&s->other, hooked->other, hooked->mnt);
    s->has_other = hooked->shape == SHAPE_RENAMED || hooked->shape == SHAPE_LINKED;
    if (s->row.content < 6) take_content(s);
    use_kept(&hooked->kept, &s->event);
    if (known) {
        s->event.result = s->ret;
        s->event.present |= HAS_result;
    }
    if (hooked->nr < COMPAT_ROWS || s->row.kind) {
        s->event.syscall = hooked->nr < COMPAT_ROWS ? hooked->nr : s->row.number;
        s->event.present |= HAS_syscall;
    }
    return 1;
}
