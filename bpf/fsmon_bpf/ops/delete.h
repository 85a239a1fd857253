/* Operations that remove a name. */

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
