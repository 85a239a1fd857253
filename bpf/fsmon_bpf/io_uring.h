/* Requests of io_uring, where they begin and end. */

#ifdef IO_WORKER_WORK
/* Before a request begins, the one before it has ended. */
static __always_inline int on_submit(struct bpf_raw_tracepoint_args *ctx, u64 request) {
    void *task = (void *)bpf_get_current_task_btf();
    if (read32(request + IO_REQUEST_FLAGS) & REQ_F_CQE_SKIP && io_transfers(io_opcode(request)))
        count_uncovered(UNCOVERED_IO_URING);
    report_queue(ctx, task, 0, 0, 0);
    return 0;
}

int on_io_uring_submit_sqe(struct bpf_raw_tracepoint_args *ctx) { /* until 6.3 */
    return on_submit(ctx, ctx->args[1]);
}

int on_io_uring_submit_req(struct bpf_raw_tracepoint_args *ctx) {
    return on_submit(ctx, ctx->args[0]);
}

/* Reads and writes are reported here: a request may come to the hook several times until its data are there. */
int on_io_uring_complete(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    u64 request = ctx->args[1];
    if (!request) return 0;
#ifdef IO_COMPLETE_CQE /* since 6.16 */
    s64 result = (s32)read32(ctx->args[2] + CQE_RESULT);
#else
    s64 result = (s32)ctx->args[3];
#endif
    u32 opcode = io_opcode(request);
    if (!io_transfers(opcode)) {
        report_queue(ctx, task, 0, request, result);
        return 0;
    }
    if (result == -EBADF || result == -ECANCELED) return 0; /* it never came to the file */
    u64 file = read64(request + IO_REQUEST_FILE);
    if (!file || (read32(file + FILE_MODE) & (FMODE_STREAM | FMODE_PATH))) return 0;
    u64 path[2] = {};
    bpf_probe_read_kernel(path, sizeof(path), (void *)(file + FILE_PATH));
    if (!may_be_watched(read64(file + FILE_INODE), path[0])) return 0;
    u32 flags = 0, op = (IO_READS >> opcode & 1) ? OPERATION_READ : OPERATION_WRITE;
    LOAD32(flags, task, TASK_FLAGS);
    if (flags & PF_KTHREAD) { /* its process has ended, and is not to be named any more */
        count_outcome(STAGE_OVERTAKEN, op);
        return 0;
    }
    struct scratch *s = scratch_here();
    struct reporting *now = s ? begin_report(s, NO_CALL, result) : 0;
    if (!now) return 0;
    now->hooked.nr = NO_CALL;
    now->hooked.op = op;
    now->hooked.hook = HOOK_IO_URING_COMPLETE;
    now->hooked.other = now->hooked.mode = now->hooked.argument = 0;
    note_dentry(&now->hooked, path[1], path[0], SHAPE_FILE);
    now->given = now->known = 1;
    bodies.call(ctx, BODY_HOOKED);
    return 0;
}
#endif
