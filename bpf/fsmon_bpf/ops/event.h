/* What every operation shares: begin an event, fill what its row says, finish it. */

#define RENAME_EXCHANGE 2  /* include/uapi/linux/fs.h */
#define AT_REMOVEDIR 0x200 /* include/uapi/linux/fcntl.h */

static __always_inline void begin(struct scratch *s, u32 op, u32 hook) {
    __builtin_memset(&s->event, 0, sizeof(s->event));
    s->event.op = op;
    s->event.hook = hook;
    s->event.count = 1;
    s->file.named = 0;
    s->other.named = 0;
    s->has_other = 0;
}

/* The nullable fields that are arguments. */
static __always_inline void fill_details(struct scratch *s) {
    struct file_event *event = &s->event;
    struct call_row *row = &s->row;
    if (row->flags < 6) {
        event->open_flags = (u32)s->args[row->flags & 7];
        event->present |= HAS_open_flags;
    }
    if (row->mode < 6 && event->op != OPERATION_OPEN) {
        event->new_mode = (u16)s->args[row->mode & 7];
        event->present |= HAS_new_mode;
    }
    if (row->owner < 6) {
        event->new_uid = (u32)s->args[row->owner & 7];
        event->new_gid = (u32)s->args[(row->owner + 1) & 7];
        event->present |= HAS_new_uid | HAS_new_gid;
    }
    if (row->offset < 6) {
        event->offset = s->args[row->offset & 7];
        event->present |= HAS_offset;
    }
    if (row->length < 6) {
        event->length = s->args[row->length & 7];
        event->present |= HAS_length;
    }
    if (row->prot < 6) {
        event->prot = (u32)s->args[row->prot & 7];
        event->present |= HAS_prot;
    }
    if (row->name < 6) {
        struct path_buffer *buffer = &s->buffers[BUFFER_NAME];
        event->xattr_name.len = read_argument(buffer, s->args[row->name & 7]);
        event->xattr_name.at = (u64)buffer->bytes;
        if (event->xattr_name.len) event->present |= HAS_xattr_name;
    }
}

static __always_inline u32 is_wanted(u32 op) {
    return (setting(SETTING_OPS) >> op) & 1;
}

static __always_inline u32 is_ignored(void) {
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 *started = ignored.lookup(&pid);
    if (!started || !*started) return started != 0;
    void *task = (void *)bpf_get_current_task_btf();
    u64 leader = 0, start = 0;
    LOAD64(leader, task, TASK_GROUP_LEADER);
    LOAD64(start, leader, TASK_START_BOOTTIME);
    return start / NS_A_TICK == *started;
}

/* fifo 1, char 2, directory 4, block 6, regular 8, symlink 10, socket 12 become the schema's 1 to 7. */
static __always_inline u32 file_type_of(u32 mode) {
    u32 type = MODE_TYPE(mode);
    return type < 2 ? type : type / 2 + 1;
}

/* Which of several names or mounts was meant is not known: what is reported may be called otherwise, and what is not may
 * be watched. */
static __always_inline void count_unsure(struct scratch *s, u32 unsure) {
    if (unsure && is_wanted(s->event.op) && !is_ignored()) count_uncovered(UNCOVERED_UNRESOLVED);
}

/* s->event, s->file and perhaps s->other are set; everything else but the outcome is filled here. A path that a
 * hook took is there already. */
static __always_inline void complete(struct scratch *s, void *task) {
    struct file_event *event = &s->event;
    struct path_buffer *path = &s->buffers[BUFFER_PATH], *target = &s->buffers[BUFFER_TARGET];
    u64 now = bpf_ktime_get_boot_ns();
    event->boot_time = now;
    event->time = (now + setting(SETTING_WALL_OFFSET)) / 1000;
    if (!(event->present & HAS_path)) path_of(s, task, &s->file, path, &event->path);
    event->present |= HAS_path;
    if (s->has_other && !(event->present & HAS_target_path)) {
        path_of(s, task, &s->other, target, &event->target_path);
        event->present |= HAS_target_path;
    }
    event->inode = s->file.ino;
    event->device = s->file.dev;
    event->mode = s->file.mode & 07777;
    event->file_type = file_type_of(s->file.mode);
    fill_process(s, task);
}
