/* Operations that make a name: of a new file, or another one of a file that is there. */

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
    u64 inode = notes->made;
    if (inode) {
        u64 first = read64(inode + INODE_ALIASES);
        u64 dentry = first - DENTRY_ALIAS;
        struct dentry_block block = {};
        if (first) bpf_probe_read_kernel(&block, sizeof(block), (void *)(dentry + DENTRY_PARENT));
        if (first && block.inode == inode && block.parent == dir) {
            adopt_dentry(s, dentry);
            fill_inode(&s->file, inode);
            take_name(&s->file, dir, (char *)block.name, (block.hash_len >> 32) & 255);
            s->event.path_source = PATHSOURCE_WALK;
        }
    }
    u64 sb = noted_at(notes, s->parent)->sb;
    s->file.mnt = mount_of(s, task, sb, s->row.dirfd, s->row.path);
    s->file.dev = read32(sb + SB_DEV);
    if (!is_name_watched(s, &s->file, dir)) return 0;
    if (!is_wanted(s->row.op) || is_ignored()) return 0;
    if (!s->file.named && !take_argument_name(s, &s->file, dir, s->row.path)) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    fill_details(s);
    if (s->row.content < 6) take_content(s);
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
    u32 named = take_argument_name(s, &s->other, dir, s->row.path2);
    if (named) adopt(s, noted->inode, read64(dir + DENTRY_INODE), s->other.name, s->other.name_len);
    s->candidates[0] = noted->parent;
    s->candidates[1] = dir;
    if (!is_either_watched(s, &s->file, 1)) return 0;
    if (!is_wanted(s->row.op) || is_ignored()) return 0;
    if (!named) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    s->has_other = 1;
    return 1;
}
