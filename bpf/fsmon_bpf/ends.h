/* The moments at which what hooks have noted is reported: preemption is off, and the working place may be used. */

#define SIGKILL 9

/* now->… is set, and s->… of the call where there is one. */
static __always_inline struct reporting *begin_report(struct scratch *s, u32 nr, s64 ret) {
    struct reporting *now = reporting_here();
    if (!now) return 0;
    no_row(s);
    s->nr = nr;
    s->ret = ret;
    s->args[0] = 0;
    s->locked = 0;
    now->request = now->running = 0;
    now->next = NEXT_FIRST;
    now->ours = is_our_turn();
    now->known = now->interrupted = now->given = now->last = 0;
    return now;
}

/* What the call has noted; interrupted: a signal has ended it, and what it left is reported at last. */
static __always_inline void report_call(struct bpf_raw_tracepoint_args *ctx, void *task, void *regs, s64 ret,
                                        u32 interrupted) {
    struct hooked_call *here = call_of(task);
    if (here && !interrupted && may_restart(ret)) {
        here->sides[0].restarts = here->sides[1].restarts = 1;
        here = 0;
    }
    if (!here && !queue_of(task)) return;
    struct scratch *s = scratch_here();
    if (!s) return;
    int key = call_index(task, regs);
    struct reporting *now = begin_report(s, key, ret);
    if (!now) return;
    now->interrupted = interrupted;
    now->last = 1;
    if (!here) now->next = NEXT_QUEUED;
    struct call_row *row = calls.lookup(&key);
    if (row && row->kind) s->row = *row;
    read_args(s, regs, key, 0);
    bodies.call(ctx, BODY_HOOKED);
}

/* What waits in the queue; a request that has ended brings its result. */
static __always_inline void report_queue(struct bpf_raw_tracepoint_args *ctx, void *task, u32 locked,
                                         u64 request, s64 result) {
    struct hooked_queue *queue = queue_of(task);
    if (!queue || queue->head == queue->tail) return;
    struct scratch *s = scratch_here();
    struct reporting *now = s ? begin_report(s, NO_CALL, 0) : 0;
    if (!now) return;
    now->next = NEXT_QUEUED;
    s->locked = locked;
    now->running = locked ? request_of(task) : 0;
    now->request = request;
    now->result = result;
    bodies.call(ctx, BODY_HOOKED);
}

/* What the hooks do not see all of. */
static __always_inline void count_call(struct call_row *row, void *regs, u32 index) {
    if (row->kind == KIND_UNCOVERED && row->variant == UNCOVERED_KERNEL) count_uncovered(UNCOVERED_KERNEL);
    if (row->kind == KIND_CONTROL && command_of(regs, index) == FIDEDUPERANGE)
        count_uncovered(UNCOVERED_DEDUPE);
}

int on_sys_exit(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    int key = call_index(task, regs);
    struct call_row *row = calls.lookup(&key);
    if (row && row->kind == KIND_MOUNT) void_verdicts();
    if (row) count_call(row, regs, key);
    if (row && row->kind == KIND_RENAME && !ctx->args[1] && !call_of(task))
        void_verdicts(); /* it was not noted */
    if (row && row->kind == KIND_MARKER) {
        u64 fd = 0;
        LOAD64(fd, regs, REGS_DI);
        mark(task, fd);
    }
    report_call(ctx, task, regs, ctx->args[1], 0);
    return 0;
}

int on_signal_deliver(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    u64 ret = 0;
    LOAD64(ret, regs, REGS_AX);
    /* What SIGKILL ends is reported while the process still has its program. */
    if (ends_call(ret, ctx->args[2]) || (may_restart(ret) && ctx->args[0] == SIGKILL))
        report_call(ctx, task, regs, -EINTR, 1);
    return 0;
}

/* A task that dies in a call reaches no sys_exit, and one that dies of a signal does nothing again. */
int on_sched_process_exit(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    u64 ret = 0;
    LOAD64(ret, regs, REGS_AX);
    report_call(ctx, task, regs, may_restart(ret) ? -EINTR : 0, may_restart(ret));
    return 0;
}

/* Kernel threads and io_uring's workers have no call that ends. */
int on_sched_switch(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    u32 flags = 0;
    LOAD32(flags, task, TASK_FLAGS);
    if (!(flags & (PF_KTHREAD | PF_IO_WORKER))) return 0;
    report_queue(ctx, task, 1, 0, 0);
    return 0;
}
