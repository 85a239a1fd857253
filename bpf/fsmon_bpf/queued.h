/* Operations that no sys_exit ends: io_uring's, AIO's, kernel threads'. Each waits in its task's queue for the next
 * moment at which preemption is off: another request's begin or end, the call's end, the task's leaving the CPU. */

#define QUEUED 8
struct hooked_queue {
    u32 head, tail; /* the hook moves head, the report tail: either may come in the middle of the other */
    struct hooked records[QUEUED];
};
/* By task_struct. An entry ends with a system call or its task, and not when it is empty: a hook that was preempted
 * may be about to write to it. */
BPF_HASH(hooked_queues, u64, struct hooked_queue, 1024);
BPF_ARRAY(nothing_queued, struct hooked_queue, 1); /* what an entry begins with; never written */

static __always_inline struct hooked_queue *queue_of(void *task) {
    u64 key = (u64)task;
    return hooked_queues.lookup(&key);
}

static __always_inline struct hooked_queue *new_queue_of(void *task) {
    u64 key = (u64)task;
    int zero = 0;
    struct hooked_queue *nothing = nothing_queued.lookup(&zero);
    if (nothing) hooked_queues.insert(&key, nothing);
    return hooked_queues.lookup(&key);
}

static __always_inline void forget_queue_of(void *task) {
    u64 key = (u64)task;
    hooked_queues.delete(&key);
}

/* The next free record; it counts with noted(). What the same request does on (an inner file, a second
 * attempt in the worker) is the same operation. */
static __always_inline struct hooked *free_record(void *task, struct call *call, u32 op) {
    struct hooked_queue *queue = queue_of(task);
    if (!queue) queue = new_queue_of(task);
    if (!queue) {
        count_outcome(STAGE_STORAGE, op);
        return 0;
    }
    for (u32 i = 0; call->request && i < QUEUED; i++) {
        u32 at = queue->tail + i;
        struct hooked *record = &queue->records[at & (QUEUED - 1)];
        if (at == queue->head) break;
        if (record->argument == call->request && record->op == op) return 0;
    }
    if (queue->head - queue->tail >= QUEUED) {
        count_outcome(STAGE_OVERTAKEN, op);
        return 0;
    }
    struct hooked *record = &queue->records[queue->head & (QUEUED - 1)];
    record->argument = call->request;
    call->queue = queue;
    return record;
}

static __always_inline void noted(struct call *call) {
    if (call->queue) call->queue->head += 1;
}
