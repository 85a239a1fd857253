/* On whose behalf a hook runs: a system call whose end reports it, or a request that outlives or shares its call. */

#define ENOSYS 38
#define PF_IO_WORKER 0x00000010

struct hooked_queue;
struct call {
    u64 argument;               /* its first; with nr, the call whose end completes the operation */
    u64 request;                /* of io_uring, where a worker does it */
    u32 nr, ends;               /* ends: sys_exit is this operation's end, and has its result */
    u32 kind, op;               /* of its row; 0 where it has none */
    u32 by_ring, command;       /* command: ioctl's */
    struct hooked_queue *queue; /* that it was noted in */
};

#ifdef IO_WORKER_WORK
/* The request that an io_uring worker is at; 0: the thread that polls submissions has none of its own. */
static __always_inline u64 request_of(void *task) {
    u64 worker = 0;
    u32 flags = 0;
    LOAD32(flags, task, TASK_FLAGS);
    if (!(flags & PF_IO_WORKER)) return 0; /* a kernel thread's is something else */
    LOAD64(worker, task, TASK_WORKER);
    u64 work = worker ? read64(worker + IO_WORKER_WORK) : 0;
    return work ? work - IO_REQUEST_WORK : 0;
}

/* enum io_uring_op (include/uapi/linux/io_uring.h): READV, WRITEV, READ_FIXED, WRITE_FIXED, READ, WRITE, READ_MULTISHOT,
 * READV_FIXED, WRITEV_FIXED */
#define IO_READS (1ULL << 1 | 1ULL << 4 | 1ULL << 22 | 1ULL << 49 | 1ULL << 60)
#define IO_WRITES (1ULL << 2 | 1ULL << 5 | 1ULL << 23 | 1ULL << 61)
#define IO_FALLOCATE 17
#define REQ_F_CQE_SKIP 64 /* it tells nobody that it went well */
#define CQE_RESULT 8
static __always_inline u32 io_opcode(u64 request) {
    return read32(request + IO_REQUEST_OPCODE) & 255;
}
static __always_inline u32 io_transfers(u32 opcode) {
    return opcode < 64 && ((IO_READS | IO_WRITES) >> opcode & 1);
}
#else
static __always_inline u64 request_of(void *task) {
    return 0;
}
#endif

/* What ioctl is to do. */
static __always_inline u32 command_of(void *regs, u32 index) {
    u32 command = 0;
    if (index < COMPAT_ROWS) LOAD32(command, regs, REGS_SI);
    else LOAD32(command, regs, REGS_CX);
    return command;
}

static __always_inline void read_call(struct call *call, void *task) {
    u32 flags = 0;
    u64 result = 0;
    call->nr = NO_CALL;
    LOAD32(flags, task, TASK_FLAGS);
    if (flags & PF_KTHREAD) return;
    call->by_ring = 1;
    if (flags & PF_IO_WORKER) {
        call->request = request_of(task);
        return;
    }
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    /* -ENOSYS stands there from the call's entry to its end; later io_uring goes on with its requests. */
    LOAD64(result, regs, REGS_AX);
    if ((s64)result != -ENOSYS) return;
    int key = call_index(task, regs);
    struct call_row *row = calls.lookup(&key);
    if (row) {
        call->kind = row->kind;
        call->op = row->op;
        /* Many operations to a call. */
        if (row->kind == KIND_UNCOVERED && row->variant == UNCOVERED_IO_URING) return;
        if (row->kind == KIND_UNCOVERED && row->variant == UNCOVERED_AIO) {
            call->by_ring = 0;
            return;
        }
    }
    if (call->kind == KIND_CONTROL) call->command = command_of(regs, key);
    call->by_ring = 0;
    call->nr = key;
    call->ends = 1;
    if (key < COMPAT_ROWS) LOAD64(call->argument, regs, REGS_DI);
    else LOAD32(call->argument, regs, REGS_BX);
}
