/* Backend of LSM hooks: they see the file itself, whatever system call, io_uring request or kernel thread means it.
 * Attach wrappers only. HOOK_x is defined where the kernel has the hook, ARG_x_y is the index of its parameter y. */

#include <linux/types.h>
#include "generated.h"
#include "kernel.h"
#include "maps.h"
#include "filter.h"
#include "path.h"
#include "arguments.h"
#include "noted.h"
#include "mounts.h"
#include "container.h"
#include "process.h"
#include "emit.h"
#include "call.h"
#include "hooked.h"
#include "report.h"
#include "ops/event.h"
#include "ops/fd.h"
#include "ops/control.h"
#include "ops/open.h"
#include "ops/names.h"
#include "ops/hooked.h"
#include "ops/restart.h"

BPF_PROG_ARRAY(bodies, 4);
#define BODY_FINISH 0
#define BODY_HOOKED 1

#define SIGKILL 9
/* include/linux/fs.h */
#define MAY_WRITE 2
#define MAY_READ 4
#define ATTR_TIMES (16 | 32)        /* ATTR_ATIME | ATTR_MTIME */
#define ATTR_OTHERS (1 | 2 | 4 | 8) /* ATTR_MODE | ATTR_UID | ATTR_GID | ATTR_SIZE */

int lsm__file_open(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    /* Of a call that does something else to the file, the opening is a part. */
    if (call.kind && call.kind != KIND_OPEN && call.kind != KIND_UNCOVERED) return 0;
    return on_file(ctx[0], OPERATION_OPEN, HOOK_FILE_OPEN, SIDE_FIRST, &call);
}

int lsm__file_permission(u64 *ctx) {
    struct call call = {};
    u32 mask = ctx[1];
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (!(mask & (MAY_READ | MAY_WRITE))) return 0;
    if (call.kind && call.kind != KIND_FD && call.kind != KIND_PAIR && call.kind != KIND_UNCOVERED &&
        call.kind != KIND_CONTROL)
        return 0;
    u32 op = mask & MAY_WRITE ? OPERATION_WRITE : OPERATION_READ;
    if (call.op == OPERATION_FALLOCATE || call.op == OPERATION_READDIR) op = call.op;
#ifdef IO_WORKER_WORK
    if (call.by_ring) {
        /* What a worker does not do is a read or a write, which the request's end reports. */
        u32 opcode = call.request ? io_opcode(call.request) : 0;
        if (!call.request || io_transfers(opcode)) return 0;
        if (opcode == IO_FALLOCATE) op = OPERATION_FALLOCATE;
    }
#endif
    if (call.kind == KIND_CONTROL) {
        if (!clones(call.command)) return 0;
        if (op == OPERATION_WRITE) op = OPERATION_CLONE;
    }
    u32 side = op == OPERATION_CLONE || (call.kind == KIND_PAIR && op == OPERATION_WRITE) ? SIDE_SECOND : SIDE_FIRST;
    return on_file(ctx[0], op, HOOK_FILE_PERMISSION, side, &call);
}

#ifdef HOOK_file_truncate
int lsm__file_truncate(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (call.kind == KIND_OPEN) return 0; /* O_TRUNC */
    return on_file(ctx[0], OPERATION_TRUNCATE, HOOK_FILE_TRUNCATE, SIDE_FIRST, &call);
}
#endif

static __always_inline int on_ioctl(u64 file, u32 command) {
    if (!sets_flags(command)) return 0;
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    return on_file(file, OPERATION_SETFLAGS, HOOK_FILE_IOCTL, SIDE_FIRST, &call);
}

int lsm__file_ioctl(u64 *ctx) {
    return on_ioctl(ctx[0], ctx[1]);
}

#ifdef HOOK_file_ioctl_compat
int lsm__file_ioctl_compat(u64 *ctx) {
    return on_ioctl(ctx[0], ctx[1]);
}
#endif

#ifdef HOOK_inode_file_setattr
int lsm__inode_file_setattr(u64 *ctx) {
    return on_dentry(ctx[0], OPERATION_SETFLAGS, HOOK_INODE_FILE_SETATTR);
}
#endif

int lsm__mmap_file(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (!ctx[0] || call.kind == KIND_EXEC) return 0;
    return on_file(ctx[0], OPERATION_MMAP, HOOK_MMAP_FILE, SIDE_FIRST, &call);
}

int lsm__bprm_check_security(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    return on_file(read64(ctx[0] + BPRM_FILE), OPERATION_EXEC, HOOK_BPRM_CHECK, SIDE_FIRST, &call);
}

int lsm__path_unlink(u64 *ctx) {
    return on_name(ctx[0], ctx[1], OPERATION_UNLINK, HOOK_PATH_UNLINK, SHAPE_REMOVED);
}

int lsm__path_rmdir(u64 *ctx) {
    return on_name(ctx[0], ctx[1], OPERATION_RMDIR, HOOK_PATH_RMDIR, SHAPE_REMOVED);
}

int lsm__path_mkdir(u64 *ctx) {
    return on_name(ctx[0], ctx[1], OPERATION_MKDIR, HOOK_PATH_MKDIR, SHAPE_MADE);
}

int lsm__path_mknod(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (call.kind == KIND_OPEN) return 0; /* O_CREAT */
    if (call.by_ring && (ctx[2] & S_IFMT) != S_IFSOCK) return 0; /* the same: io_uring only binds sockets besides */
    u32 op = call.op == OPERATION_BIND || call.by_ring ? OPERATION_BIND : OPERATION_MKNOD;
    return on_name(ctx[0], ctx[1], op, HOOK_PATH_MKNOD, SHAPE_MADE);
}

int lsm__path_symlink(u64 *ctx) {
    return on_name(ctx[0], ctx[1], OPERATION_SYMLINK, HOOK_PATH_SYMLINK, SHAPE_MADE);
}

int lsm__path_link(u64 *ctx) {
    return on_two_names(ctx[0], ctx[1], ctx[2], OPERATION_LINK, HOOK_PATH_LINK, SHAPE_LINKED);
}

int lsm__path_rename(u64 *ctx) {
    return on_two_names(ctx[1], ctx[2], ctx[3], OPERATION_RENAME, HOOK_PATH_RENAME, SHAPE_RENAMED);
}

int lsm__path_truncate(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (call.kind == KIND_OPEN) return 0; /* O_TRUNC */
    return on_path(ctx[0], OPERATION_TRUNCATE, HOOK_PATH_TRUNCATE);
}

int lsm__path_chmod(u64 *ctx) {
    return on_path(ctx[0], OPERATION_CHMOD, HOOK_PATH_CHMOD);
}

int lsm__path_chown(u64 *ctx) {
    return on_path(ctx[0], OPERATION_CHOWN, HOOK_PATH_CHOWN);
}

int lsm__inode_setattr(u64 *ctx) {
    u32 valid = read32(ctx[ARG_inode_setattr_attr] + IATTR_VALID);
    if ((valid & ATTR_OTHERS) || !(valid & ATTR_TIMES)) return 0; /* the others have hooks with a path */
    return on_dentry(ctx[ARG_inode_setattr_dentry], OPERATION_UTIMENS, HOOK_INODE_SETATTR);
}

int lsm__inode_setxattr(u64 *ctx) {
    return on_dentry(ctx[ARG_inode_setxattr_dentry], OPERATION_SETXATTR, HOOK_INODE_SETXATTR);
}

int lsm__inode_removexattr(u64 *ctx) {
    return on_dentry(ctx[ARG_inode_removexattr_dentry], OPERATION_REMOVEXATTR, HOOK_INODE_REMOVEXATTR);
}

#ifdef HOOK_inode_set_acl
int lsm__inode_set_acl(u64 *ctx) {
    return on_dentry(ctx[ARG_inode_set_acl_dentry], OPERATION_SETXATTR, HOOK_INODE_SET_ACL);
}
#endif

#ifdef HOOK_inode_remove_acl
int lsm__inode_remove_acl(u64 *ctx) {
    return on_dentry(ctx[ARG_inode_remove_acl_dentry], OPERATION_REMOVEXATTR, HOOK_INODE_SET_ACL);
}
#endif

/* Reports the next of what waits, and comes again. */
int body_hooked(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct reporting *now = reporting_here();
    if (!s || !now || !take_next(now, s, task)) return 0;
    if (do_hooked(s, task, &now->hooked, now->known)) bodies.call(ctx, BODY_FINISH);
    bodies.call(ctx, BODY_HOOKED);
    return 0;
}

int body_finish(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    if (!s) return 0;
    complete(s, task);
    emit(s);
    bodies.call(ctx, BODY_HOOKED);
    return 0;
}

static __always_inline u32 anything_queued(void *task) {
    struct hooked_queue *queue = hooked_queues.task_storage_get((struct task_struct *)task, 0, 0);
    return queue && queue->head != queue->tail;
}

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
    now->known = now->interrupted = now->given = 0;
    return now;
}

/* What the call has noted; interrupted: a signal has ended it, and what it left is reported at last. */
static __always_inline void report_call(struct bpf_raw_tracepoint_args *ctx, void *task, void *regs, s64 ret,
                                        u32 interrupted) {
    struct hooked_call *here = hooked_calls.task_storage_get((struct task_struct *)task, 0, 0);
    u32 noted = here && (here->sides[0].shape || here->sides[1].shape);
    if (noted && !interrupted && may_restart(ret)) {
        here->sides[0].restarts = here->sides[1].restarts = 1;
        noted = 0;
    }
    if (!noted && !anything_queued(task)) return;
    struct scratch *s = scratch_here();
    if (!s) return;
    int key = call_index(task, regs);
    struct reporting *now = begin_report(s, key, ret);
    if (!now) return;
    now->interrupted = interrupted;
    if (!noted) now->next = NEXT_QUEUED;
    struct call_row *row = calls.lookup(&key);
    if (row && row->kind) s->row = *row;
    read_args(s, regs, key, 0);
    bodies.call(ctx, BODY_HOOKED);
}

/* What waits in the queue; a request that has ended brings its result. */
static __always_inline void report_queue(struct bpf_raw_tracepoint_args *ctx, void *task, u32 locked, u64 request,
                                         s64 result) {
    if (!anything_queued(task)) return;
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

int on_sys_exit(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    int key = call_index(task, regs);
    struct call_row *row = calls.lookup(&key);
    if (row && row->kind == KIND_MOUNT) void_verdicts();
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
    u32 flags = 0;
    LOAD32(flags, task, TASK_FLAGS);
    if (flags & (PF_KTHREAD | PF_IO_WORKER)) {
        report_queue(ctx, task, 0, 0, 0);
        return 0;
    }
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
