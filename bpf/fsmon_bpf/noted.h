/* A file that a running call is about, as it was before the call changed it. */

struct noted {
    u64 inode, sb, ino;
    u64 dentry;
    u64 parent, parent_inode, hash_len;
    u32 dev, generation, mode, nlink;
    u32 name_len, spare;
    char name[256];
};

static __always_inline void fill_noted(struct noted *noted, u64 inode, u64 sb, u64 dentry) {
    struct inode_key key = {};
    read_inode_key(&key, inode);
    noted->inode = inode;
    noted->sb = sb;
    noted->ino = key.ino;
    noted->generation = key.generation;
    noted->dev = read32(sb + SB_DEV);
    noted->mode = read32(inode + INODE_MODE) & 0xffff;
    noted->nlink = read32(inode + INODE_NLINK);
    noted->dentry = dentry;
    struct dentry_block block = {};
    bpf_probe_read_kernel(&block, sizeof(block), (void *)(dentry + DENTRY_PARENT));
    noted->parent = block.parent;
    noted->hash_len = block.hash_len;
    noted->parent_inode = read64(block.parent + DENTRY_INODE);
    noted->name_len = (block.hash_len >> 32) & 255;
    bpf_probe_read_kernel(noted->name, within(noted->name_len, 256), (void *)block.name);
}
