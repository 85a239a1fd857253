/* Backend of raw tracepoints for kernels without the timestamp tracepoints: sys_exit sees the call, its arguments and
 * its result; what a path means is found out by user space. Attach wrappers only. */

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
#include "ops/exec.h"
#include "questions.h"

static __always_inline void on_marker(void *task, void *regs) {
    u64 fd = 0;
    LOAD64(fd, regs, REGS_DI);
    mark_and_judge(task, fd);
}

static __always_inline void drop_notes(void *task, u32 key) {}

#include "exits.h"

/* No kind of call has this index. */
#define BODY_ASK 15

/* A path operation that failed changed nothing. */
int body_named(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct asking *asking = asking_here();
    if (!s || !asking || s->ret || !prepare_question(s, task, asking)) return 0;
    if (asking->first.len) bodies.call(ctx, BODY_ASK);
    /* No path, or "" with AT_EMPTY_PATH: the descriptor itself is meant. */
    if (s->row.kind != KIND_PATH || !is_watched(s, &s->file)) return 0;
    s->event.path_source = PATHSOURCE_WALK;
    s->event.deleted = is_unlinked(s->file.dentry);
    return report(ctx, 1);
}

int body_ask(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct asking *asking = asking_here();
    if (!s || !asking) return 0;
    s->event.result = s->ret;
    s->event.syscall = s->row.number;
    s->event.present |= HAS_result | HAS_syscall;
    complete(s, task);
    ask(s, asking);
    return 0;
}
