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

static __always_inline struct noted *noted_at(struct notes *notes, u32 index) {
    return &notes->inodes[within(index, NOTED)];
}
