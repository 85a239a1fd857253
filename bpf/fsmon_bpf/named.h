/* Names that are watched: a file that is given one is watched from then on, the operation that gives it included.
 *
 * User space fills the map of names, and learns from the other one what was added to that of watched inodes. */

BPF_F_TABLE("hash", struct name_key, u64, names, 65536,
            BPF_F_NO_PREALLOC); /* user space's number of the rule */

struct adoption {
    u64 rule, time;
};
BPF_HASH(adopted, struct inode_key, struct adoption, 16384);

/* The inode has that name now in a directory of its file system. */
static __always_inline void adopt(struct scratch *s, u64 inode, u64 dir, void *name, u32 len) {
    struct name_key *named = &s->given;
    struct inode_key key = {.dev = read32(read64(inode + INODE_SB) + SB_DEV)};
    __builtin_memset(named, 0, sizeof(*named));
    read_inode_key(&named->dir, dir);
    named->dir.dev = key.dev;
    bpf_probe_read_kernel(named->name, within(len, 256), name);
    u64 *rule = names.lookup(named);
    if (!rule) return;
    read_inode_key(&key, inode);
    if (watches.lookup(&key)) return;
    if ((read32(inode + INODE_MODE) & S_IFMT) == S_IFLNK)
        return; /* where it leads is meant: user space sees */
    struct adoption adoption = {.rule = *rule, .time = bpf_ktime_get_ns()};
    u32 watch = WATCH_INCLUDE;
    /* First: what is watched and not told of is taken away again. It bounds what is watched while nobody asks. */
    if (adopted.update(&key, &adoption) || watches.update(&key, &watch)) {
        count_uncovered(UNCOVERED_UNRESOLVED);
        return;
    }
    void_verdicts();
}

static __always_inline void adopt_dentry(struct scratch *s, u64 dentry) {
    struct dentry_block block = {};
    bpf_probe_read_kernel(&block, sizeof(block), (void *)(dentry + DENTRY_PARENT));
    if (!block.inode || is_unlinked(dentry)) return;
    adopt(s, block.inode, read64(block.parent + DENTRY_INODE), (void *)block.name,
          (block.hash_len >> 32) & 255);
}
