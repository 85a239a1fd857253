/* What the backends of raw tracepoints share: the end of every system call, of calls that a signal interrupts, and the
 * operations on open files. A backend brings on_marker, drop_notes, and bodies for the path operations. */

BPF_PROG_ARRAY(bodies, 16);

/* Index 0 of the bodies: no kind of call has it. */
#define BODY_FINISH 0

#define AF_UNIX 1

/* Other sockets, and those in the abstract name space, make no file. */
static __always_inline u32 binds_path(void *regs, u32 index) {
    u64 address = bound_address(regs, index);
    u16 family = 0;
    char first = 0;
    bpf_probe_read_user(&family, sizeof(family), (void *)address);
    bpf_probe_read_user(&first, sizeof(first), (void *)(address + SOCKADDR_PATH));
    return family == AF_UNIX && first;
}

static __always_inline int report_call(struct bpf_raw_tracepoint_args *ctx, void *regs, struct call_row *row,
                                       u32 key, u32 op, s64 ret) {
    struct scratch *s = scratch_here();
    if (!s) return 0;
    if (!is_our_turn()) {
        drop_notes((void *)bpf_get_current_task_btf(), key);
        return 0;
    }
    s->row = *row;
    s->nr = key;
    s->ret = ret;
    s->side = 0;
    read_args(s, regs, key, op);
    bodies.call(ctx, row->kind);
    return 0;
}

int on_sys_exit(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    int key = call_index(task, regs);
    struct call_row *row = calls.lookup(&key);
    if (!row) {
        if (key == X32_CALL) count_uncovered(UNCOVERED_COMPAT);
        return 0;
    }
    if (!row->kind) return 0;
    if (row->kind >= KIND_MOUNT) {
        if (row->kind == KIND_MOUNT) void_verdicts();
        if (row->kind == KIND_UNCOVERED) count_uncovered(row->variant);
        if (row->kind == KIND_MARKER) on_marker(task, regs);
        return 0;
    }
    /* A call on a file that a signal has interrupted is reported when it is known not to be done again. */
    if (may_restart(ctx->args[1]) && (row->kind == KIND_FD || row->kind == KIND_PAIR)) return 0;
    if (row->op == OPERATION_BIND && !binds_path(regs, key)) return 0;
    return report_call(ctx, regs, row, key, row->op, ctx->args[1]);
}

static __always_inline int report_interrupted(struct bpf_raw_tracepoint_args *ctx, void *task, void *regs) {
    int key = call_index(task, regs);
    struct call_row *row = calls.lookup(&key);
    if (!row || (row->kind != KIND_FD && row->kind != KIND_PAIR)) return 0;
    return report_call(ctx, regs, row, key, 0, -EINTR); /* it is no bind */
}

int on_signal_deliver(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    u64 ret = 0;
    LOAD64(ret, regs, REGS_AX);
    if (ends_call(ret, ctx->args[2])) report_interrupted(ctx, task, regs);
    return 0;
}

static __always_inline int report(struct bpf_raw_tracepoint_args *ctx, int wanted) {
    if (wanted) bodies.call(ctx, BODY_FINISH);
    return 0;
}

int body_fd(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    return s ? report(ctx, do_fd(s, task)) : 0;
}

/* A clone reads one file and changes another. */
int body_control(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    if (!s) return 0;
    u32 command = (u32)s->args[1];
    if (sets_flags(command)) return report(ctx, do_fd(s, task));
    if (command == FIDEDUPERANGE) count_uncovered(UNCOVERED_DEDUPE);
    if (!clones(command)) return 0;
    if (command == FICLONERANGE) bpf_probe_read_user(&s->args[2], sizeof(u64), (void *)s->args[2]);
    s->row.kind = KIND_PAIR;
    s->row.op = OPERATION_CLONE;
    s->row.fd2 = 0;
    s->row.fd = 2;
    bodies.call(ctx, KIND_PAIR);
    return 0;
}

int body_open(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    return s ? report(ctx, do_open(s, task)) : 0;
}

int body_pair(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    if (!s) return 0;
    if (do_pair(s, task)) bodies.call(ctx, BODY_FINISH);
    if (s->side) return 0;
    s->side = 1;
    bodies.call(ctx, KIND_PAIR);
    return 0;
}

int body_finish(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    if (!s) return 0;
    s->event.result = s->ret;
    s->event.syscall = s->row.number;
    s->event.present |= HAS_result | HAS_syscall;
    complete(s, task);
    emit(s);
    if (s->row.kind == KIND_PAIR && !s->side) {
        s->side = 1;
        bodies.call(ctx, KIND_PAIR);
    }
    return 0;
}

int on_sched_process_exec(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    if (!s || !is_our_turn() || !do_exec(s, task, ctx->args[2])) return 0;
    complete(s, task);
    emit(s);
    return 0;
}

/* Of a signal without a handler. */
int on_sched_process_exit(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    u64 ret = 0;
    u32 flags = 0;
    LOAD32(flags, task, TASK_FLAGS);
    LOAD64(ret, regs, REGS_AX);
    if (!(flags & PF_KTHREAD) && may_restart(ret)) report_interrupted(ctx, task, regs);
    return 0;
}
