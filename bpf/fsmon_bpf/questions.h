/* Path operations on kernels that do not name the files they change: user space is asked (resolver.py).
 *
 * A question has what the call was given and the directories that its paths begin in; user space follows them as the
 * process would have, and gives an event back for the ring if it is of a watched file. */

BPF_RINGBUF_OUTPUT(questions, 1024);

/* 1: a path's directory is watched for sure. 2: the process has the same root as the producer. */
enum { HINT_WATCHED = 1, HINT_OUR_ROOT = 2 };

struct asking {
    u32 hints;
    struct text first, second; /* the paths as the call was given them */
    struct path_buffer buffer; /* of the second; the first stands in BUFFER_ARGUMENT */
};
BPF_ARRAY(askings, struct asking, CPUS);

/* What user space gives back: a record for the ring. */
struct answer {
    u32 op, len;
    char bytes[RECORD_CAP];
};
BPF_ARRAY(answers, struct answer, 1);
/* Whether the file that the marker named last is watched. */
BPF_ARRAY(marked, u32, 1);
/* The producer's own root. */
struct place {
    u64 mnt, dentry;
};
BPF_ARRAY(our_root, struct place, 1);

static __always_inline struct asking *asking_here(void) {
    int key = bpf_get_smp_processor_id();
    return askings.lookup(&key);
}

/* Where the path begins, as the target; its text. 0: the descriptor that it begins at is gone. */
static __always_inline u32 find_start(struct scratch *s, void *task, struct target *target, u32 dirfd, u64 at,
                                      struct path_buffer *buffer, struct text *text) {
    u64 fs = 0;
    LOAD64(fs, task, TASK_FS);
    text->at = (u64)buffer->bytes;
    text->len = read_argument(buffer, at);
    s32 fd = (s32)s->args[dirfd & 7];
    u64 place = fs + FS_PWD;
    if (text->len && buffer->bytes[0] == '/') place = fs + FS_ROOT;
    else if (dirfd < 6 && fd >= 0) {
        u64 file = file_of(task, fd);
        place = file ? file + FILE_PATH : 0;
    }
    if (!fs || !place) return 0;
    target->mnt = read64(place);
    target->dentry = read64(place + 8);
    fill_inode(target, read64(target->dentry + DENTRY_INODE));
    return 1;
}

/* The path is one name, so that its directory is where it begins. */
static __always_inline u32 is_one_name(struct scratch *s, struct path_buffer *buffer, struct text *text) {
    u32 len = last_component(buffer, text->len, &s->last);
    if (!len || s->last.at) return 0;
    u32 dots = buffer->bytes[0] == '.' && (len == 1 || (len == 2 && buffer->bytes[1] == '.'));
    return !dots;
}

static __always_inline struct place root_of(void *task) {
    u64 fs = 0;
    LOAD64(fs, task, TASK_FS);
    struct place root = {.mnt = read64(fs + FS_ROOT), .dentry = read64(fs + FS_ROOT + 8)};
    return root;
}

static __always_inline u32 has_our_root(void *task) {
    int zero = 0;
    struct place *ours = our_root.lookup(&zero), root = root_of(task);
    return ours && ours->mnt == root.mnt && ours->dentry == root.dentry;
}

/* Which of its kind's operations the call is. */
static __always_inline u32 named_op(struct scratch *s) {
    u64 flags = s->row.flags < 6 ? s->args[s->row.flags & 7] : 0;
    if (s->row.kind == KIND_REMOVE && (flags & AT_REMOVEDIR)) return OPERATION_RMDIR;
    if (s->row.kind == KIND_RENAME && (flags & RENAME_EXCHANGE)) return OPERATION_EXCHANGE;
    return s->row.op;
}

/* 0: nothing to ask. s->file is of the descriptor itself where asking->first is empty. */
static __always_inline u32 prepare_question(struct scratch *s, void *task, struct asking *asking) {
    struct call_row *row = &s->row;
    if (row->kind == KIND_RENAME || row->kind == KIND_LINK) void_verdicts();
    u32 op = named_op(s);
    if (!is_wanted(op) || is_ignored()) return 0;
    begin(s, op, HOOK_SYS_EXIT);
    asking->hints = has_our_root(task) ? HINT_OUR_ROOT : 0;
    asking->second.len = 0;
    struct path_buffer *first = &s->buffers[BUFFER_ARGUMENT];
    if (!find_start(s, task, &s->file, row->dirfd, s->args[row->path & 7], first, &asking->first)) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return 0;
    }
    if (row->kind != KIND_PATH && is_one_name(s, first, &asking->first) && is_watched(s, &s->file))
        asking->hints |= HINT_WATCHED;
    if (row->path2 < 6) {
        if (!find_start(s, task, &s->other, row->dirfd2, s->args[row->path2 & 7], &asking->buffer,
                        &asking->second)) {
            count_uncovered(UNCOVERED_UNRESOLVED);
            return 0;
        }
        s->has_other = 1;
        if (is_one_name(s, &asking->buffer, &asking->second) && is_watched(s, &s->other))
            asking->hints |= HINT_WATCHED;
    }
    fill_details(s);
    if (row->content < 6) take_content(s);
    return 1;
}

/* Flag byte, the two paths, hints, arguments 2 to 4, and the event as far as it is known: in place of its paths those
 * of the directories that they begin in. */
static __always_inline void ask(struct scratch *s, struct asking *asking) {
    struct record *out = &s->record;
    out->length = 0;
    out->beyond_ascii = 0;
    put_byte(out, 0);
    put_text(out, &asking->first);
    put_text(out, &asking->second);
    put_long(out, asking->hints);
    for (u32 i = 2; i < 5; i++) put_long(out, s->args[i]);
    encode_operation(out, &s->event);
    encode_outcome(out, &s->event);
    u32 size = out->length;
    void *bytes = out->bytes;
    if (size > RECORD_CAP || questions.ringbuf_output(bytes, size, 0)) count_uncovered(UNCOVERED_UNRESOLVED);
}

static __always_inline void send_answer(void) {
    int zero = 0;
    struct answer *answer = answers.lookup(&zero);
    if (!answer) return;
    u32 size = answer->len, op = answer->op;
    void *bytes = answer->bytes;
    if (size > RECORD_CAP || op >= OPERATIONS) return;
    if (ring.ringbuf_output(bytes, size, 0)) count_outcome(STAGE_RING_FULL, op);
    else count_outcome(STAGE_EMITTED, op);
}

/* Tells how the kernel names the file behind fd and whether it is watched; -1 sends the answer. */
static __always_inline void mark_and_judge(void *task, u64 fd) {
    int zero = 0;
    u32 watched = 0;
    if (bpf_get_current_pid_tgid() >> 32 != setting(SETTING_MARKER_PID)) return;
    if ((s32)fd == -1) {
        send_answer();
        return;
    }
    mark(task, fd);
    struct place root = root_of(task);
    our_root.update(&zero, &root);
    u64 file = file_of(task, fd);
    struct scratch *s = scratch_here();
    if (!file || !s) return;
    s->file.mnt = read64(file + FILE_PATH);
    s->file.dentry = read64(file + FILE_PATH + 8);
    fill_inode(&s->file, read64(file + FILE_INODE));
    watched = is_watched(s, &s->file);
    marked.update(&zero, &watched);
}
