/* open and its relatives, and files made by them. A failed open reached no file: nothing is reported. */

#define O_TMPFILE_BIT 020000000
#define CREAT_FLAGS 01101 /* O_CREAT | O_WRONLY | O_TRUNC, which creat(2) stands for */

struct open_how_args {
    u64 flags, mode;
};

/* What the call asked for, whichever of its forms was used. */
static __always_inline struct open_how_args open_arguments(struct scratch *s) {
    struct open_how_args how = {.flags = CREAT_FLAGS, .mode = s->args[s->row.mode & 7]};
    if (s->row.flags < 6) how.flags = (u32)s->args[s->row.flags & 7];
    if (s->row.how < 6) bpf_probe_read_user(&how, sizeof(how), (void *)s->args[s->row.how & 7]);
    return how;
}

static __always_inline void adopt_created(struct scratch *s, void *task) {
    u64 file = file_of(task, (u32)s->ret);
    if (file && (read32(file + FILE_MODE) & FMODE_CREATED)) adopt_dentry(s, read64(file + FILE_PATH + 8));
}

static __always_inline int do_open(struct scratch *s, void *task) {
    if (s->ret < 0) return 0;
    adopt_created(s, task);
    if (!take_file(s, task, (u32)s->ret)) return 0;
    struct open_how_args how = open_arguments(s);
    u64 file = file_of(task, (u32)s->ret);
    u32 created = (read32(file + FILE_MODE) & FMODE_CREATED) || (how.flags & O_TMPFILE_BIT);
    u32 op = created ? OPERATION_CREATE : OPERATION_OPEN;
    if (!is_wanted(op) || is_ignored()) return 0;
    begin(s, op, HOOK_SYS_EXIT);
    s->event.path_source = PATHSOURCE_WALK;
    s->event.deleted = is_unlinked(s->file.dentry);
    s->event.open_flags = how.flags;
    s->event.present |= HAS_open_flags;
    if (created) {
        s->event.new_mode = how.mode & 07777;
        s->event.present |= HAS_new_mode;
    }
    return 1;
}
