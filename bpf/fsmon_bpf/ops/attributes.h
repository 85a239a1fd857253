/* Operations that change a file named by a path, and not its name. */

/* chmod, chown, utimens, xattrs, truncate: one file is changed. */
static __always_inline int do_path(struct scratch *s, void *task, struct notes *notes) {
    struct noted *noted = &notes->inodes[0];
    struct path_buffer *buffer = &s->buffers[BUFFER_ARGUMENT];
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
