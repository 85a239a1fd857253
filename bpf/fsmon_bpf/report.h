/* What waits to be reported, one after the other: first the call's own files, then its task's queue. */

enum { NEXT_FIRST, NEXT_SECOND, NEXT_QUEUED, NEXT_NONE };
struct reporting {
    u64 request; /* of io_uring: it has ended, with result */
    s64 result;
    u32 next, known;
    u32 interrupted;      /* what was left to be done again will not be */
    u32 given;            /* hooked is set already */
    u32 last;             /* the task's queue is not needed any more */
    u32 ours, spare;      /* else it is taken and dropped: other programs report */
    u64 running;          /* the request that the task is at: not done yet */
    struct hooked hooked; /* a copy, so that its place is free */
};
BPF_ARRAY(reportings, struct reporting, CPUS);

static __always_inline struct reporting *reporting_here(void) {
    int key = bpf_get_smp_processor_id();
    return reportings.lookup(&key);
}

static __always_inline void take(struct reporting *now, struct hooked *from) {
    bpf_probe_read_kernel(&now->hooked, sizeof(now->hooked), from);
    from->kept.place = 0; /* it has moved along */
    from->shape = SHAPE_NONE;
}

/* A file of the call itself. */
static __always_inline u32 take_side(struct reporting *now, struct scratch *s, void *task) {
    struct hooked_call *here = call_of(task);
    for (u32 i = 0; here && i < SIDES; i++) {
        if (now->next > i) continue;
        now->next = i + 1;
        struct hooked *hooked = &here->sides[i];
        if (!hooked->shape) continue;
        u32 dropped = hooked->restarts && !now->interrupted;
        take(now, hooked);
        if (dropped) {
            leave_place(&now->hooked.kept);
            continue;
        }
        now->known = s->nr != NO_CALL && is_same_call(hooked, s->nr, s->row.kind, s->args[0]);
        return 1;
    }
    now->next = NEXT_QUEUED;
    forget_call_of(task);
    return 0;
}

static __always_inline u32 take_queued(struct reporting *now, struct scratch *s, void *task) {
    struct hooked_queue *queue = queue_of(task);
    if (!queue) return 0;
    if (queue->tail == queue->head) {
        if (now->last) forget_queue_of(task);
        return 0;
    }
    struct hooked *hooked = &queue->records[queue->tail & (QUEUED - 1)];
    if (now->running && hooked->argument == now->running) return 0;
    take(now, hooked);
    queue->tail += 1;
    no_row(s);
    now->known = now->request && hooked->argument == now->request;
    s->ret = now->known ? now->result : 0;
    return 1;
}

static __always_inline u32 take_next(struct reporting *now, struct scratch *s, void *task) {
    leave_place(&now->hooked.kept); /* the event with its paths is out */
    if (now->next == NEXT_NONE) return 0;
    if (now->given) {
        now->next = NEXT_NONE;
        return 1;
    }
    if (now->next < NEXT_QUEUED && take_side(now, s, task)) return 1;
    return take_queued(now, s, task);
}
