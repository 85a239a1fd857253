/* What LSM hooks note for the end of the system call.
 *
 * A hook is short: it may be preempted by another task's on its CPU, so nothing is built in a CPU's working place,
 * and its verdict is a look into the cache. It leaves the file in its task's note; sys_exit, which runs with
 * preemption off and knows the result, judges, walks and encodes. */

enum shape {
    SHAPE_NONE,
    SHAPE_FILE,    /* still where it was: dentry in mnt */
    SHAPE_REMOVED, /* its name is gone: parent and name as they were */
    SHAPE_MADE,    /* a name that is there now, if the call succeeded */
    SHAPE_LINKED,  /* what, and other: its new name */
    SHAPE_RENAMED, /* what: the old name, and where its dentry is now */
    SHAPE_DENTRY,  /* a file whose mount the hook does not say */
};

struct hooked {
    u64 argument; /* with nr: the call whose end completes it; in a queue: io_uring's request, where it is known */
    u64 mnt, other;
    u32 nr, shape, op, hook, mode, open_flags;
    u32 restarts, spare; /* its call was interrupted, and is done again or not at all */
    struct kept kept;    /* what the hook took by bpf_d_path, where the kernel lets it */
    struct noted what;
};

/* Two a task: sendfile and copy_file_range read one file and write another. */
enum { SIDE_FIRST, SIDE_SECOND, SIDES };
struct hooked_call {
    struct hooked sides[SIDES];
};
/* By task_struct, from the first note of a call to its end. No task storage: 6.1 refuses it to every task of a CPU on
 * which one is preempted in asking for its own. Three notes of 100 could not be made so, and some not be found when
 * their call ended: such a note stood for the next call of the same kind, too. */
BPF_HASH(hooked_calls, u64, struct hooked_call, 8192);
BPF_ARRAY(nothing_noted, struct hooked_call, 1); /* what an entry begins with; never written */

static __always_inline struct hooked_call *call_of(void *task) {
    u64 key = (u64)task;
    return hooked_calls.lookup(&key);
}

static __always_inline struct hooked_call *new_call_of(void *task) {
    u64 key = (u64)task;
    int zero = 0;
    struct hooked_call *nothing = nothing_noted.lookup(&zero);
    if (nothing) hooked_calls.insert(&key, nothing);
    return hooked_calls.lookup(&key);
}

static __always_inline void forget_call_of(void *task) {
    u64 key = (u64)task;
    hooked_calls.delete(&key);
}

#include "queued.h"

static __always_inline u32 is_same_call(struct hooked *hooked, u32 nr, u32 kind, u64 argument) {
    /* exec clears the registers, and up to 6.1 makes every exec's number execve (set_personality_64bit). */
    if (hooked->op == OPERATION_EXEC && kind == KIND_EXEC) return 1;
    return hooked->nr == nr && hooked->argument == argument;
}

static __always_inline struct hooked *free_side(void *task, struct call *call, u32 side, u32 op) {
    struct hooked_call *here = call_of(task);
    if (!here) here = new_call_of(task);
    if (!here) {
        count_outcome(STAGE_STORAGE, op);
        return 0;
    }
    struct hooked *hooked = &here->sides[side & 1];
    if (hooked->shape && !hooked->restarts) {
        if (is_same_call(hooked, call->nr, call->kind, call->argument)) return 0;
        count_outcome(STAGE_OVERTAKEN, hooked->op);
    }
    hooked->argument = call->argument;
    return hooked;
}

/* Where to note a file, or null: the first hook of a call says what it does to a file, and what follows (overlayfs'
 * inner file, chmod's setattr) is the same operation. What is noted there counts with noted(). */
static __always_inline struct hooked *slot_for(void *task, struct call *call, u32 side, u32 op, u32 hook) {
    if (!setting(SETTING_OPS)) return 0; /* attached, not enabled yet */
    struct hooked *hooked = call->ends ? free_side(task, call, side, op) : free_record(task, call, op);
    if (!hooked) return 0;
    hooked->nr = call->nr;
    hooked->op = op;
    hooked->hook = hook;
    hooked->other = 0;
    hooked->mode = hooked->open_flags = hooked->restarts = 0;
    hooked->kept.path_len = hooked->kept.target_len = 0;
    return hooked;
}

static __always_inline void note_dentry(struct hooked *hooked, u64 dentry, u64 mnt, u32 shape) {
    u64 inode = read64(dentry + DENTRY_INODE);
    u64 sb = inode ? read64(inode + INODE_SB) : read64(mnt + VFSMOUNT_SB);
    fill_noted(&hooked->what, inode, sb, dentry);
    hooked->mnt = mnt;
    hooked->shape = shape;
}

/* Whether to take paths in the hook: d_path says that the kernel allows it there. The call's end must give the place
 * back, and what is not watched, as far as one can tell, is not worth it: inode and mnt are asked for their verdict. */
static __always_inline u32 keeps_paths(struct call *call, u32 d_path, u64 inode, u64 mnt) {
    return d_path && call->ends && may_be_watched(inode, mnt);
}

/* A file that is open, or being opened. */
static __always_inline int on_file(u64 file, u32 op, u32 hook, u32 side, struct call *call, u32 d_path) {
    void *task = (void *)bpf_get_current_task_btf();
    u32 mode = read32(file + FILE_MODE);
    if (mode & (FMODE_STREAM | FMODE_PATH)) return 0;
    if (!call->ends && (mode & FMODE_NOACCOUNT)) return 0; /* overlayfs' inner file: the outer one is meant */
    u64 path[2] = {};
    bpf_probe_read_kernel(path, sizeof(path), (void *)(file + FILE_PATH));
    if (!may_be_watched(read64(file + FILE_INODE), path[0])) return 0;
    struct hooked *hooked = slot_for(task, call, side, op, hook);
    if (!hooked) return 0;
    hooked->mode = mode & FMODE_CREATED;
    if (!call->ends) hooked->open_flags = read32(file + FILE_FLAGS) & ~O_LARGEFILE;
    note_dentry(hooked, path[1], path[0], SHAPE_FILE);
    noted(call);
    if (!d_path || !call->ends) return 0;
    struct kept_paths *paths = take_place(&hooked->kept);
    if (paths) hooked->kept.path_len = file_d_path(paths->path, (void *)file + FILE_PATH, path[1]);
    return 0;
}

/* A file named by a struct path. */
static __always_inline int on_path(u64 path, u32 op, u32 hook, u32 d_path) {
    void *task = (void *)bpf_get_current_task_btf();
    u64 mnt = read64(path), dentry = read64(path + 8);
    if (!may_be_watched(read64(dentry + DENTRY_INODE), mnt)) return 0;
    struct call call = {};
    read_call(&call, task);
    struct hooked *hooked = slot_for(task, &call, SIDE_FIRST, op, hook);
    if (!hooked) return 0;
    note_dentry(hooked, dentry, mnt, SHAPE_FILE);
    noted(&call);
    if (!d_path || !call.ends) return 0;
    struct kept_paths *paths = take_place(&hooked->kept);
    if (paths) hooked->kept.path_len = file_d_path(paths->path, (void *)path, dentry);
    return 0;
}

/* A name in a directory, a struct path. */
static __always_inline int on_name(u64 dir, u64 dentry, u32 op, u32 hook, u32 shape, u32 d_path) {
    void *task = (void *)bpf_get_current_task_btf();
    u64 mnt = read64(dir);
    struct call call = {};
    read_call(&call, task);
    struct hooked *hooked = slot_for(task, &call, SIDE_FIRST, op, hook);
    if (!hooked) return 0;
    note_dentry(hooked, dentry, mnt, shape);
    noted(&call);
    if (!keeps_paths(&call, d_path, hooked->what.parent_inode, mnt)) return 0;
    struct kept_paths *paths = take_place(&hooked->kept);
    if (paths) hooked->kept.path_len = name_d_path(paths->path, (void *)dir, dentry);
    return 0;
}

/* link and rename: two names in one mount. dir is 0 for link, which is not told it. */
static __always_inline int on_two_names(u64 dir, u64 dentry, u64 new_dir, u64 new_dentry, u32 op, u32 hook,
                                        u32 shape, u32 d_path) {
    void *task = (void *)bpf_get_current_task_btf();
    u64 mnt = read64(new_dir);
    struct call call = {};
    read_call(&call, task);
    struct hooked *hooked = slot_for(task, &call, SIDE_FIRST, op, hook);
    if (!hooked) {
        void_verdicts(); /* nothing will judge what has moved; on_sys_exit does so again */
        return 0;
    }
    note_dentry(hooked, dentry, mnt, shape);
    hooked->other = new_dentry;
    /* A file that is itself watched may be what a rename replaces. */
    u64 replaced = read64(new_dentry + DENTRY_INODE);
    if (replaced) {
        struct inode_key key = {};
        read_inode_key(&key, replaced);
        key.dev = hooked->what.dev;
        u32 *watch = watches.lookup(&key);
        hooked->mode = watch && *watch == WATCH_INCLUDE;
    }
    noted(&call);
    u64 new_parent = read64(read64(new_dentry + DENTRY_PARENT) + DENTRY_INODE);
    if (!keeps_paths(&call, d_path, hooked->what.parent_inode, mnt) &&
        !keeps_paths(&call, d_path, new_parent, mnt))
        return 0;
    struct kept_paths *paths = take_place(&hooked->kept);
    if (!paths) return 0;
    if (shape == SHAPE_RENAMED) hooked->kept.path_len = name_d_path(paths->path, (void *)dir, dentry);
    hooked->kept.target_len = name_d_path(paths->target, (void *)new_dir, new_dentry);
    return 0;
}

/* A file of which the hook gives the dentry only. */
static __always_inline int on_dentry(u64 dentry, u32 op, u32 hook) {
    void *task = (void *)bpf_get_current_task_btf();
    struct call call = {};
    read_call(&call, task);
    struct hooked *hooked = slot_for(task, &call, SIDE_FIRST, op, hook);
    if (!hooked) return 0;
    note_dentry(hooked, dentry, 0, SHAPE_DENTRY);
    noted(&call);
    return 0;
}

/* A mount that goes: its mount point is in the mount above. */
static __always_inline int on_mount(u64 mnt, u32 op, u32 hook) {
    void *task = (void *)bpf_get_current_task_btf();
    u64 mount = mnt - MOUNT_MNT;
    struct call call = {};
    read_call(&call, task);
    struct hooked *hooked = slot_for(task, &call, SIDE_FIRST, op, hook);
    if (!hooked) return 0;
    u64 above = read64(mount + MOUNT_PARENT) + MOUNT_MNT;
    note_dentry(hooked, read64(mount + MOUNT_MOUNTPOINT), above, SHAPE_FILE);
    noted(&call);
    return 0;
}
