/* Is a file watched? Yes if the nearest of it and its ancestors that is in the map says so.
 *
 * Ancestors are those of the file system, up to its root, whatever the mount shows of it: so a bind mount of
 * a watched directory is caught; from there on those of the mount point in the parent mount. */

enum { WATCH_INCLUDE = 1, WATCH_EXCLUDE = 2 };
BPF_HASH(watches, struct inode_key, u32, 65536);

#define ANCESTORS 256
/* Renames by io_uring or nfsd pass no hook of ours: a verdict lives this long at most, 1 s where a jiffy is
 * longest (HZ=100). Jiffies because they cost a load, bpf_ktime_get_ns 20 ns, and this is asked every event. */
#define VERDICT_JIFFIES 100

struct verdict_key {
    struct inode_key inode;
    u64 mnt; /* the same file may be watched through one mount and not through another */
};
/* PLACE_BY_MOUNT: no rule of the file system's own decides, so that it may be another through another mount. */
enum { PLACE_WATCHED = 1, PLACE_BY_MOUNT = 2 };
struct verdict {
    u64 epoch, expires;
    u32 place, spare;
};
BPF_TABLE("lru_hash", struct verdict_key, struct verdict, verdicts, 65536);

static __always_inline void read_inode_key(struct inode_key *key, u64 inode) {
    key->ino = read64(inode + INODE_INO);
    key->generation = read32(inode + INODE_GENERATION);
}

/* Starts at walk->dentry / walk->mnt. */
static __always_inline u32 find_place(struct walk *walk) {
    struct inode_key key = {};
    walk->state = 0;
    key.dev = read32(walk->sb + SB_DEV);
    for (int i = 0; i < ANCESTORS; i++) {
        FORGET_REGISTERS;
        u64 dentry = walk->dentry;
        u64 parent = read64(dentry + DENTRY_PARENT);
        read_inode_key(&key, read64(dentry + DENTRY_INODE));
        u32 *watch = watches.lookup(&key);
        if (watch) return (*watch == WATCH_INCLUDE) | walk->state;
        if (parent != dentry) {
            walk->dentry = parent;
            continue;
        }
        walk->state = PLACE_BY_MOUNT;
        u64 mount = walk->mnt - MOUNT_MNT;
        u64 up = read64(mount + MOUNT_PARENT);
        if (!walk->mnt || up == mount || !up) return PLACE_BY_MOUNT;
        walk->dentry = read64(mount + MOUNT_MOUNTPOINT);
        walk->mnt = up + MOUNT_MNT;
        key.dev = read32(read64(walk->mnt + VFSMOUNT_SB) + SB_DEV);
    }
    return PLACE_WATCHED | walk->state; /* deeper than we look: keep it rather than miss it */
}

/* i_mode to i_nlink lie close together in every kernel so far: one read. */
struct inode_head {
    u64 words[(INODE_NLINK + 8) / 8];
};

/* Everything of a target that its inode tells. */
static __always_inline void fill_inode(struct target *target, u64 inode) {
    struct inode_head head = {};
    bpf_probe_read_kernel(&head, sizeof(head), (void *)inode);
    target->inode = inode;
    target->mode = *(u16 *)((char *)&head + INODE_MODE);
    target->sb = *(u64 *)((char *)&head + INODE_SB);
    target->ino = *(u64 *)((char *)&head + INODE_INO);
    target->nlink = *(u32 *)((char *)&head + INODE_NLINK);
    target->generation = read32(inode + INODE_GENERATION);
    target->dev = read32(target->sb + SB_DEV);
}

/* No, where that is remembered: a look that needs no working place. */
static __always_inline u32 may_be_watched(u64 inode, u64 mnt) {
    struct verdict_key key = {};
    key.inode.ino = read64(inode + INODE_INO);
    key.inode.dev = read32(read64(inode + INODE_SB) + SB_DEV);
    key.inode.generation = read32(inode + INODE_GENERATION);
    key.mnt = mnt;
    struct verdict *known = verdicts.lookup(&key);
    if (!known || (known->place & PLACE_WATCHED)) return 1;
    return known->epoch != setting(SETTING_EPOCH) || known->expires <= bpf_jiffies64();
}

/* Looks from target->dentry on; the verdict is remembered for the target's inode and mount. */
static __always_inline u32 place_of(struct scratch *s, struct target *target) {
    struct verdict_key key = {};
    key.inode.ino = target->ino;
    key.inode.dev = target->dev;
    key.inode.generation = target->generation;
    key.mnt = target->mnt;
    u64 epoch = setting(SETTING_EPOCH); /* before the walk: a change during it voids its verdict */
    u64 now = bpf_jiffies64();
    struct verdict *known = verdicts.lookup(&key);
    if (known && known->epoch == epoch && known->expires > now) return known->place;
    s->walk.dentry = target->dentry;
    s->walk.mnt = target->mnt;
    s->walk.sb = target->sb;
    struct verdict fresh = {};
    fresh.place = find_place(&s->walk);
    fresh.epoch = epoch;
    fresh.expires = now + VERDICT_JIFFIES;
    /* A file with several names may be watched through another of them: its "no" is not remembered. */
    if ((fresh.place & PLACE_WATCHED) || target->nlink <= 1 || (target->mode & S_IFMT) == S_IFDIR)
        verdicts.update(&key, &fresh);
    return fresh.place;
}

static __always_inline u32 is_watched(struct scratch *s, struct target *target) {
    return place_of(s, target) & PLACE_WATCHED;
}

/* A name that is made or gone: the file itself may be watched, else its directory (s->dir) decides. */
static __always_inline u32 is_name_watched(struct scratch *s, struct target *file, u64 dir_dentry) {
    struct inode_key key = {};
    key.ino = file->ino;
    key.dev = file->dev;
    key.generation = file->generation;
    u32 *watch = watches.lookup(&key);
    if (watch) return *watch == WATCH_INCLUDE;
    s->dir.dentry = dir_dentry;
    s->dir.mnt = file->mnt;
    fill_inode(&s->dir, read64(dir_dentry + DENTRY_INODE));
    return is_watched(s, &s->dir);
}

static __always_inline void void_verdicts(void) {
    int key = SETTING_EPOCH;
    u64 *epoch = settings.lookup(&key);
    if (epoch) __sync_fetch_and_add(epoch, 1);
}

/* A file that was given another name: itself or one of two directories, s->candidates, is watched. Where the two are
 * not judged alike, what is remembered of the file is void, and of every mount that has it: all of it. */
static __always_inline u32 is_either_watched(struct scratch *s, struct target *file, u32 moved) {
    struct inode_key key = {.ino = file->ino, .dev = file->dev, .generation = file->generation};
    u32 *watch = watches.lookup(&key);
    if (watch) return *watch == WATCH_INCLUDE;
    s->place = 0;
#pragma unroll /* 6.1 refuses the loop of loops that the compiler makes of it (back-edge) */
    for (u32 i = 0; i < 2; i++) {
        u64 dentry = s->candidates[i];
        if (!dentry || (i && dentry == s->candidates[0])) break;
        s->dir.dentry = dentry;
        s->dir.mnt = file->mnt;
        fill_inode(&s->dir, read64(dentry + DENTRY_INODE));
        u32 place = place_of(s, &s->dir);
        if (i && moved && place != s->place) void_verdicts();
        s->place |= place;
    }
    return s->place & PLACE_WATCHED;
}

/* How the kernel names the inode behind a descriptor, for user space that asks by fadvise64. */
static __always_inline void mark(void *task, u64 fd) {
    int zero = 0;
    if (bpf_get_current_pid_tgid() >> 32 != setting(SETTING_MARKER_PID)) return;
    u64 file = file_of(task, fd);
    struct inode_key key = {};
    if (file) {
        u64 inode = read64(file + FILE_INODE);
        read_inode_key(&key, inode);
        key.dev = read32(read64(inode + INODE_SB) + SB_DEV);
    }
    marker.update(&zero, &key);
}
