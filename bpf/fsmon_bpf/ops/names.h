/* Operations that name files by path: what they changed was noted while they ran (notes.h). */

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
static __always_inline int take_argument_name(struct scratch *s, struct target *target, u64 dir,
                                              u32 argument) {
    struct path_buffer *buffer = &s->buffers[BUFFER_ARGUMENT];
    u32 len = last_component(buffer, read_argument(buffer, s->args[argument & 7]), &s->last);
    if (!len) return 0;
    take_name(target, dir, buffer->bytes + (s->last.at & (PATH_CAP - 1)), len);
    s->event.path_source = PATHSOURCE_ARGUMENT;
    return 1;
}

/* The symbolic link's content as it was given. */
static __always_inline void take_content(struct scratch *s) {
    struct path_buffer *buffer = &s->buffers[BUFFER_TARGET];
    s->event.target_path.len = read_argument(buffer, s->args[s->row.content & 7]);
    s->event.target_path.at = (u64)buffer->bytes;
    s->event.present |= HAS_target_path;
}

static __always_inline u64 mount_of(struct scratch *s, void *task, u64 sb, u32 dirfd, u32 path) {
    struct path_buffer *buffer = &s->buffers[BUFFER_ARGUMENT];
    if (!read_argument(buffer, s->args[path & 7])) buffer->bytes[0] = 0;
    return find_mount(s, task, sb, dirfd, buffer);
}

static __always_inline u32 is_directory(u32 mode) {
    return (mode & S_IFMT) == S_IFDIR;
}

/* The mount of a file that the call's first path names; no path, or "" with AT_EMPTY_PATH, means its descriptor. */
static __always_inline u64 mount_by_argument(struct scratch *s, void *task, u64 sb) {
    struct path_buffer *buffer = &s->buffers[BUFFER_ARGUMENT];
    if (!read_argument(buffer, s->args[s->row.path & 7])) {
        buffer->bytes[0] = 0;
        s32 fd = (s32)s->args[s->row.dirfd & 7];
        u64 file = s->row.dirfd < 6 && fd >= 0 ? file_of(task, fd) : 0;
        if (file) return read64(file + FILE_PATH);
    }
    return find_mount(s, task, sb, s->row.dirfd, buffer);
}
