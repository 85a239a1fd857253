/* Backends of LSM hooks: they see the file itself, whatever system call, io_uring request or kernel thread means it.
 * Attach wrappers only. PROGRAM_x names what is attached for hook x: to the hook itself (lsm), or to the function that
 * calls it (fentry). HAS_HOOK_x is defined where the kernel has it, ARG_x_y is the index of its parameter y there, and
 * DPATH_x says whether bpf_d_path may be called. */

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
#include "kept.h"
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

#define HOOK(name) PROGRAM_##name

/* include/linux/fs.h */
#define MAY_WRITE 2
#define MAY_READ 4
#define ATTR_TIMES (16 | 32)        /* ATTR_ATIME | ATTR_MTIME */
#define ATTR_OTHERS (1 | 2 | 4 | 8) /* ATTR_MODE | ATTR_UID | ATTR_GID | ATTR_SIZE */
#define VM_WRITE 2                  /* and PROT_WRITE */
#define VM_SHARED 8
#define MS_MOVE 8192 /* include/uapi/linux/mount.h */

int HOOK(file_open)(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    /* Of a call that does something else to the file, the opening is a part. */
    if (call.kind && call.kind != KIND_OPEN && call.kind != KIND_UNCOVERED) return 0;
    return on_file(ctx[0], OPERATION_OPEN, HOOK_FILE_OPEN, SIDE_FIRST, &call, DPATH_file_open);
}

int HOOK(file_permission)(u64 *ctx) {
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
        if (!clones(call.command)) return 0; /* FIDEDUPERANGE is counted when it ends */
        if (op == OPERATION_WRITE) op = OPERATION_CLONE;
    }
    u32 side =
        op == OPERATION_CLONE || (call.kind == KIND_PAIR && op == OPERATION_WRITE) ? SIDE_SECOND : SIDE_FIRST;
    return on_file(ctx[0], op, HOOK_FILE_PERMISSION, side, &call, DPATH_file_permission);
}

#ifdef HAS_HOOK_file_truncate
int HOOK(file_truncate)(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (call.kind == KIND_OPEN) return 0; /* O_TRUNC */
    return on_file(ctx[0], OPERATION_TRUNCATE, HOOK_FILE_TRUNCATE, SIDE_FIRST, &call, DPATH_file_truncate);
}
#endif

static __always_inline int on_ioctl(u64 file, u32 command, u32 d_path) {
    if (!sets_flags(command)) return 0;
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    return on_file(file, OPERATION_SETFLAGS, HOOK_FILE_IOCTL, SIDE_FIRST, &call, d_path);
}

int HOOK(file_ioctl)(u64 *ctx) {
    return on_ioctl(ctx[0], ctx[1], DPATH_file_ioctl);
}

#ifdef HAS_HOOK_file_ioctl_compat
int HOOK(file_ioctl_compat)(u64 *ctx) {
    return on_ioctl(ctx[0], ctx[1], DPATH_file_ioctl_compat);
}
#endif

#ifdef HAS_HOOK_inode_file_setattr
int HOOK(inode_file_setattr)(u64 *ctx) {
    return on_dentry(ctx[0], OPERATION_SETFLAGS, HOOK_INODE_FILE_SETATTR);
}
#endif

int HOOK(mmap_file)(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    /* Read as a number: the verifier takes the pointer for one that is never null. */
    if (!read64((u64)ctx) || call.kind == KIND_EXEC) return 0;
    return on_file(ctx[0], OPERATION_MMAP, HOOK_MMAP_FILE, SIDE_FIRST, &call, DPATH_mmap_file);
}

int HOOK(bprm_check_security)(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    u64 file = 0;
    LOAD64(file, ctx[0], BPRM_FILE);
    return on_file(file, OPERATION_EXEC, HOOK_BPRM_CHECK, SIDE_FIRST, &call, DPATH_bprm_check_security);
}

int HOOK(file_mprotect)(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    u64 file = 0;
    LOAD64(file, ctx[0], VMA_FILE);
    u32 flags = read32(ctx[0] + VMA_FLAGS);
    /* The file is meant where writing to memory shared with it begins; the rest is the loader's, and changes memory. */
    if (!(flags & VM_SHARED) || (flags & VM_WRITE) || !(ctx[2] & VM_WRITE) || !read64(ctx[0] + VMA_FILE))
        return 0;
    return on_file(file, OPERATION_MPROTECT, HOOK_FILE_MPROTECT, SIDE_FIRST, &call, DPATH_file_mprotect);
}

int HOOK(path_unlink)(u64 *ctx) {
    return on_name(ctx[0], ctx[1], OPERATION_UNLINK, HOOK_PATH_UNLINK, SHAPE_REMOVED, DPATH_path_unlink);
}

int HOOK(path_rmdir)(u64 *ctx) {
    return on_name(ctx[0], ctx[1], OPERATION_RMDIR, HOOK_PATH_RMDIR, SHAPE_REMOVED, DPATH_path_rmdir);
}

int HOOK(path_mkdir)(u64 *ctx) {
    return on_name(ctx[0], ctx[1], OPERATION_MKDIR, HOOK_PATH_MKDIR, SHAPE_MADE, DPATH_path_mkdir);
}

int HOOK(path_mknod)(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (call.kind == KIND_OPEN) return 0; /* O_CREAT */
    if (call.by_ring && (ctx[2] & S_IFMT) != S_IFSOCK)
        return 0; /* the same: io_uring only binds sockets besides */
    u32 op = call.op == OPERATION_BIND || call.by_ring ? OPERATION_BIND : OPERATION_MKNOD;
    return on_name(ctx[0], ctx[1], op, HOOK_PATH_MKNOD, SHAPE_MADE, DPATH_path_mknod);
}

int HOOK(path_symlink)(u64 *ctx) {
    return on_name(ctx[0], ctx[1], OPERATION_SYMLINK, HOOK_PATH_SYMLINK, SHAPE_MADE, DPATH_path_symlink);
}

int HOOK(path_link)(u64 *ctx) {
    return on_two_names(0, ctx[0], ctx[1], ctx[2], OPERATION_LINK, HOOK_PATH_LINK, SHAPE_LINKED,
                        DPATH_path_link);
}

int HOOK(path_rename)(u64 *ctx) {
    return on_two_names(ctx[0], ctx[1], ctx[2], ctx[3], OPERATION_RENAME, HOOK_PATH_RENAME, SHAPE_RENAMED,
                        DPATH_path_rename);
}

int HOOK(path_truncate)(u64 *ctx) {
    struct call call = {};
    read_call(&call, (void *)bpf_get_current_task_btf());
    if (call.kind == KIND_OPEN) return 0; /* O_TRUNC */
    return on_path(ctx[0], OPERATION_TRUNCATE, HOOK_PATH_TRUNCATE, DPATH_path_truncate);
}

int HOOK(path_chmod)(u64 *ctx) {
    return on_path(ctx[0], OPERATION_CHMOD, HOOK_PATH_CHMOD, DPATH_path_chmod);
}

int HOOK(path_chown)(u64 *ctx) {
    return on_path(ctx[0], OPERATION_CHOWN, HOOK_PATH_CHOWN, DPATH_path_chown);
}

int HOOK(inode_setattr)(u64 *ctx) {
    u32 valid = read32(ctx[ARG_inode_setattr_attr] + IATTR_VALID);
    if ((valid & ATTR_OTHERS) || !(valid & ATTR_TIMES)) return 0; /* the others have hooks with a path */
    return on_dentry(ctx[ARG_inode_setattr_dentry], OPERATION_UTIMENS, HOOK_INODE_SETATTR);
}

int HOOK(inode_setxattr)(u64 *ctx) {
    return on_dentry(ctx[ARG_inode_setxattr_dentry], OPERATION_SETXATTR, HOOK_INODE_SETXATTR);
}

int HOOK(inode_removexattr)(u64 *ctx) {
    return on_dentry(ctx[ARG_inode_removexattr_dentry], OPERATION_REMOVEXATTR, HOOK_INODE_REMOVEXATTR);
}

#ifdef HAS_HOOK_inode_set_acl
int HOOK(inode_set_acl)(u64 *ctx) {
    return on_dentry(ctx[ARG_inode_set_acl_dentry], OPERATION_SETXATTR, HOOK_INODE_SET_ACL);
}
#endif

#ifdef HAS_HOOK_inode_remove_acl
int HOOK(inode_remove_acl)(u64 *ctx) {
    return on_dentry(ctx[ARG_inode_remove_acl_dentry], OPERATION_REMOVEXATTR, HOOK_INODE_SET_ACL);
}
#endif

int HOOK(sb_mount)(u64 *ctx) {
    u32 op = ctx[3] & MS_MOVE ? OPERATION_MOVE_MOUNT : OPERATION_MOUNT;
    return on_path(ctx[1], op, HOOK_SB_MOUNT, DPATH_sb_mount);
}

int HOOK(sb_umount)(u64 *ctx) {
    return on_mount(ctx[0], OPERATION_UNMOUNT, HOOK_SB_UMOUNT);
}

int HOOK(move_mount)(u64 *ctx) {
    return on_path(ctx[1], OPERATION_MOVE_MOUNT, HOOK_MOVE_MOUNT, DPATH_move_mount);
}

/* Reports the next of what waits, and comes again. */
int body_hooked(struct bpf_raw_tracepoint_args *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *s = scratch_here();
    struct reporting *now = reporting_here();
    if (!s || !now || !take_next(now, s, task)) return 0;
    s->mount_unsure = 0;
    u32 wanted = do_hooked(s, task, &now->hooked, now->known);
    if (now->ours) {
        count_unsure(s, s->mount_unsure);
        if (wanted) bodies.call(ctx, BODY_FINISH);
    }
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

#include "ends.h"
#include "io_uring.h"
