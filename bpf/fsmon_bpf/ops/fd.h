/* Operations on an open file: read, write, mmap, ftruncate, fchmod … The file says its own path and mount. */

/* The file behind fd into s->file; 0 if there is nothing to report about it. */
static __always_inline int take_file(struct scratch *s, void *task, u32 fd) {
    struct target *target = &s->file;
    u64 file = file_of(task, fd);
    if (!file) {
        /* No such descriptor was this call's own error; gone after success means another thread closed it. */
        if (s->ret != -EBADF) count_uncovered(UNCOVERED_FD_CLOSED);
        return 0;
    }
    u32 mode = read32(file + FILE_MODE);
    if (mode & (FMODE_STREAM | FMODE_PATH)) return 0;
    u64 path[2] = {}; /* struct path: mnt, dentry */
    bpf_probe_read_kernel(path, sizeof(path), (void *)(file + FILE_PATH));
    target->mnt = path[0];
    target->dentry = path[1];
    fill_inode(target, read64(file + FILE_INODE));
    if (read64(target->sb + SB_FLAGS) & SB_NOUSER) return 0; /* anonymous inodes, memfd, pipefs */
    return is_watched(s, target);
}

static __always_inline int file_operation(struct scratch *s, void *task, u32 fd, u32 op) {
    if (!take_file(s, task, fd)) return 0;
    if (!is_wanted(op) || is_ignored()) return 0;
    begin(s, op, HOOK_SYS_EXIT);
    s->event.path_source = PATHSOURCE_WALK;
    s->event.deleted = is_unlinked(s->file.dentry);
    fill_details(s);
    return 1;
}

#define MAP_ANONYMOUS 0x20

static __always_inline int do_fd(struct scratch *s, void *task) {
    if (s->row.op == OPERATION_MMAP) {
        if (s->args[3] & MAP_ANONYMOUS) return 0;
        if (s->ret > 0 || s->ret < -4095) s->ret = 0; /* the address is nobody's business */
    }
    return file_operation(s, task, (u32)s->args[s->row.fd & 7], s->row.op);
}

/* sendfile, splice, copy_file_range: side 0 is read, side 1 is written, an event each. */
static __always_inline int do_pair(struct scratch *s, void *task) {
    u32 op = s->row.op == OPERATION_CLONE ? OPERATION_CLONE : OPERATION_WRITE;
    if (s->side) return file_operation(s, task, (u32)s->args[s->row.fd2 & 7], op);
    return file_operation(s, task, (u32)s->args[s->row.fd & 7], OPERATION_READ);
}
