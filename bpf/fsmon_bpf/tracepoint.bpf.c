/* Backend of raw tracepoints: sys_exit sees the call, its arguments and its result; the timestamp tracepoints
 * name what path operations change. Attach wrappers only. */

#include <linux/types.h>
#include "generated.h"
#include "kernel.h"
#include "maps.h"
#include "turn.h"
#include "filter.h"
#include "path.h"
#include "arguments.h"
#include "noted.h"
#include "notes.h"
#include "mounts.h"
#include "container.h"
#include "process.h"
#include "emit.h"
#include "ops/event.h"
#include "ops/fd.h"
#include "ops/open.h"
#include "ops/names.h"
#include "ops/delete.h"
#include "ops/make.h"
#include "ops/attributes.h"
#include "ops/rename.h"
#include "ops/exec.h"

BPF_PROG_ARRAY(bodies, 16);

/* Index 0 of the bodies: no kind of call has it. */
#define BODY_FINISH 0

int on_sys_exit(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    u64 nr = 0;
    u32 status = 0;
    LOAD64(nr, regs, REGS_ORIG_AX);
    LOAD32(status, task, TASK_THREAD_INFO + THREAD_INFO_STATUS);
    if (status & TS_COMPAT) {
        count_uncovered(UNCOVERED_COMPAT);
        return 0;
    }
    int key = nr;
    struct call_row *row = calls.lookup(&key);
    if (!row || !row->kind || nr > 511) return 0;
    if (row->kind >= KIND_MOUNT) {
        if (row->kind == KIND_MOUNT) void_verdicts();
        if (row->kind == KIND_UNCOVERED) count_uncovered(row->variant);
        if (row->kind == KIND_MARKER) {
            u64 fd = 0;
            LOAD64(fd, regs, REGS_DI);
            mark(task, fd);
        }
        return 0;
    }
    if (!is_our_turn()) {
        struct notes *notes = notes_of(task, nr);
        if (notes) forget(notes); /* or they would be taken for the next call's */
        return 0;
    }
    struct scratch *s = scratch_here();
    if (!s) return 0;
    s->row = *row;
    s->nr = nr;
    s->ret = ctx->args[1];
    s->side = 0;
    read_args(s, regs);
    bodies.call(ctx, row->kind);
    return 0;
}

static __always_inline int report(struct bpf_raw_tracepoint_args *ctx, int wanted) {
    if (wanted) bodies.call(ctx, BODY_FINISH);
    return 0;
}

/* A path operation that failed changed nothing; what it noted on the way is dropped with it. */
static __always_inline struct notes *changes_of(struct scratch *s, void *task) {
    struct notes *notes = notes_of(task, s->nr);
    if (!notes && !s->ret) count_uncovered(UNCOVERED_UNRESOLVED);
    if (notes && s->ret) {
        forget(notes);
        return 0;
    }
    return notes;
}

static __always_inline int report_noted(struct bpf_raw_tracepoint_args *ctx, struct notes *notes,
                                        int wanted) {
    forget(notes);
    return report(ctx, wanted);
}

int body_fd(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    return s ? report(ctx, do_fd(s, task)) : 0;
}

int body_open(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    return s ? report(ctx, do_open(s, task)) : 0;
}

int body_path(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, notes, do_path(s, task, notes)) : 0;
}

int body_remove(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, notes, do_remove(s, task, notes)) : 0;
}

int body_make(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, notes, do_make(s, task, notes)) : 0;
}

int body_link(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, notes, do_link(s, task, notes)) : 0;
}

int body_rename(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, notes, do_rename(s, task, notes)) : 0;
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
    s->event.syscall = s->nr;
    s->event.present |= HAS_result | HAS_syscall;
    complete(s, task);
    emit(s);
    if (s->row.kind == KIND_PAIR && !s->side) {
        s->side = 1;
        bodies.call(ctx, KIND_PAIR);
    }
    return 0;
}

int on_ctime_ns_xchg(struct bpf_raw_tracepoint_args *ctx) {
    return note_inode(ctx->args[0]);
}

int on_ctime_xchg_skip(struct bpf_raw_tracepoint_args *ctx) {
    return note_inode(ctx->args[0]);
}

int on_inode_set_ctime_to_ts(struct bpf_raw_tracepoint_args *ctx) {
    return note_inode(ctx->args[0]);
}

int on_sched_process_exec(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    if (!s || !is_our_turn() || !do_exec(s, task, ctx->args[2])) return 0;
    complete(s, task);
    emit(s);
    return 0;
}
