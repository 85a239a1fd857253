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
#include "named.h"
#include "notes.h"
#include "mounts.h"
#include "container.h"
#include "process.h"
#include "emit.h"
#include "ops/event.h"
#include "ops/restart.h"
#include "ops/fd.h"
#include "ops/control.h"
#include "ops/open.h"
#include "ops/names.h"
#include "ops/delete.h"
#include "ops/make.h"
#include "ops/attributes.h"
#include "ops/rename.h"
#include "ops/exec.h"

static __always_inline void on_marker(void *task, void *regs) {
    u64 fd = 0;
    LOAD64(fd, regs, REGS_DI);
    mark(task, fd);
}

/* Or they would be taken for the next call's. */
static __always_inline void drop_notes(void *task, u32 key) {
    struct notes *notes = notes_of(task, key);
    if (notes) forget(notes);
}

#include "exits.h"

/* A path operation that failed changed nothing; what it noted on the way is dropped with it. */
static __always_inline struct notes *changes_of(struct scratch *s, void *task) {
    struct notes *notes = notes_of(task, s->nr);
    s->event.op = s->row.op;
    s->mount_unsure = 0;
    if (!notes && !s->ret) count_uncovered(UNCOVERED_UNRESOLVED);
    if (notes && s->ret) {
        forget(notes);
        return 0;
    }
    return notes;
}

static __always_inline int report_noted(struct bpf_raw_tracepoint_args *ctx, struct scratch *s,
                                        struct notes *notes, int wanted) {
    count_unsure(s, notes->unsure || s->mount_unsure);
    forget(notes);
    return report(ctx, wanted);
}

int body_path(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, s, notes, do_path(s, task, notes)) : 0;
}

int body_remove(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, s, notes, do_remove(s, task, notes)) : 0;
}

int body_make(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, s, notes, do_make(s, task, notes)) : 0;
}

int body_link(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, s, notes, do_link(s, task, notes)) : 0;
}

int body_rename(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct notes *notes = s ? changes_of(s, task) : 0;
    return notes ? report_noted(ctx, s, notes, do_rename(s, task, notes)) : 0;
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
