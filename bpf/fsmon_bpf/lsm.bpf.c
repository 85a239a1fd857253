/* Backend of LSM hooks: they see the file itself, whatever system call, io_uring request or kernel thread means it.
 * Attach wrappers only. HOOK_x is defined where the kernel has the hook, ARG_x_y is the index of its parameter y. */

#include <linux/types.h>
#include "generated.h"
#include "kernel.h"
#include "maps.h"
#include "turn.h"
#include "filter.h"
#include "path.h"
#include "arguments.h"
#include "noted.h"
#include "mounts.h"
#include "container.h"
#include "process.h"
#include "emit.h"
#include "hooked.h"
#include "ops/event.h"
#include "ops/fd.h"
#include "ops/open.h"
#include "ops/names.h"
#include "ops/hooked.h"

BPF_PROG_ARRAY(bodies, 4);
#define BODY_FINISH 0
#define BODY_HOOKED 1

/* include/linux/fs.h */
#define MAY_WRITE 2
#define MAY_READ 4
#define ATTR_TIMES (16 | 32)        /* ATTR_ATIME | ATTR_MTIME */
#define ATTR_OTHERS (1 | 2 | 4 | 8) /* ATTR_MODE | ATTR_UID | ATTR_GID | ATTR_SIZE */
#define NR_GETDENTS 78
#define NR_GETDENTS64 217

int lsm__file_open(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    /* Of a call that does something else to the file, the opening is a part. */
    if (is_exec(call.nr) || (call.kind && call.kind != KIND_OPEN && call.kind != KIND_UNCOVERED)) return 0;
    return on_file(ctx[0], OPERATION_OPEN, HOOK_FILE_OPEN, SIDE_FIRST, &call);
}

int lsm__file_permission(u64 *ctx) {
    struct call call = {};
    u32 mask = ctx[1];
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (is_exec(call.nr) || !(mask & (MAY_READ | MAY_WRITE))) return 0;
    if (call.kind && call.kind != KIND_FD && call.kind != KIND_PAIR && call.kind != KIND_UNCOVERED) return 0;
    u32 op = mask & MAY_WRITE ? OPERATION_WRITE : OPERATION_READ;
    if (call.op == OPERATION_FALLOCATE) op = OPERATION_FALLOCATE;
    if (call.nr == NR_GETDENTS || call.nr == NR_GETDENTS64) op = OPERATION_READDIR;
    u32 side = call.kind == KIND_PAIR && op == OPERATION_WRITE ? SIDE_SECOND : SIDE_FIRST;
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

int lsm__mmap_file(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (!ctx[0] || is_exec(call.nr)) return 0;
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
    return on_name(ctx[0], ctx[1], OPERATION_MKNOD, HOOK_PATH_MKNOD, SHAPE_MADE);
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

/* Reports the next file that the call's hooks noted, and comes again for the other one. */
int body_hooked(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct hooked_call *here = hooked_calls.task_storage_get((struct task_struct *)task, 0, 0);
    if (!s || !here) return 0;
    u32 side = s->side;
    if (side >= SIDES) return 0;
    s->side = side + 1;
    struct hooked *hooked = &here->sides[side & 1];
    struct call call = {};
    read_call(&call, task);
    u32 wanted = 0;
    if (hooked->shape) {
        u32 known = s->nr != NO_CALL && call.ends && is_same_call(hooked, &call);
        wanted = do_hooked(s, task, hooked, known);
        hooked->shape = SHAPE_NONE;
    }
    if (wanted) bodies.call(ctx, BODY_FINISH);
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

static __always_inline void report_hooked(struct bpf_raw_tracepoint_args *ctx, void *task, u64 nr, s64 ret) {
    struct hooked_call *here = hooked_calls.task_storage_get((struct task_struct *)task, 0, 0);
    if (!here || (!here->sides[0].shape && !here->sides[1].shape)) return;
    if (!is_our_turn()) {
        here->sides[0].shape = here->sides[1].shape = SHAPE_NONE;
        return;
    }
    struct scratch *s = scratch_here();
    if (!s) return;
    __builtin_memset(&s->row, 7, sizeof(s->row)); /* no argument means anything */
    s->nr = nr;
    s->ret = ret;
    s->side = 0;
    int key = nr & 511;
    struct call_row *row = nr < 512 ? calls.lookup(&key) : 0;
    if (row && row->kind) {
        s->row = *row;
        read_args(s, (void *)bpf_task_pt_regs((struct task_struct *)task));
    }
    bodies.call(ctx, BODY_HOOKED);
}

int on_sys_exit(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);
    u64 nr = 0, argument = 0;
    u32 status = 0;
    LOAD64(nr, regs, REGS_ORIG_AX);
    LOAD64(argument, regs, REGS_DI);
    LOAD32(status, task, TASK_THREAD_INFO + THREAD_INFO_STATUS);
    if (status & TS_COMPAT) nr = NO_CALL;
    int key = nr & 511;
    struct call_row *row = nr < 512 ? calls.lookup(&key) : 0;
    if (row && row->kind == KIND_MOUNT) void_verdicts();
    if (row && row->kind == KIND_MARKER) mark(task, argument);
    report_hooked(ctx, task, nr, ctx->args[1]);
    return 0;
}

/* A task that dies in a call reaches no sys_exit. */
int on_sched_process_exit(struct bpf_raw_tracepoint_args *ctx) {
    report_hooked(ctx, (void *)bpf_get_current_task_btf(), NO_CALL, 0);
    return 0;
}
