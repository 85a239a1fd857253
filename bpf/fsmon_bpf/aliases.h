/* By which of a file's names a call named it: the running call holds the dentry of that one.
 *
 * Descriptors hold others, so of those that are held one that ends as the argument does is taken, and of these one in
 * the directory that the argument says. */

#define ALIASES 96

enum { RANK_NONE, RANK_HELD, RANK_NAMED, RANK_PLACED };

/* File systems in memory hold each name once, as long as it is there. */
#define TMPFS_MAGIC 0x01021994 /* include/uapi/linux/magic.h */
#define RAMFS_MAGIC 0x858458f6
#define HUGETLBFS_MAGIC 0x958458f6
static __always_inline u32 pins_of(u64 sb) {
    u32 magic = read64(sb + SB_MAGIC);
    return magic == TMPFS_MAGIC || magic == RAMFS_MAGIC || magic == HUGETLBFS_MAGIC;
}

/* The directory that the call's first path begins in; 0 if that is not known. */
static __always_inline u64 start_of(struct scratch *s, void *task, struct call_row *row) {
    u64 fs = 0;
    LOAD64(fs, task, TASK_FS);
    if (!fs) return 0;
    s32 fd = (s32)s->args[row->dirfd & 7];
    if (s->buffers[BUFFER_ARGUMENT].bytes[0] == '/') return read64(fs + FS_ROOT + 8);
    if (row->dirfd > 5 || fd < 0) return read64(fs + FS_PWD + 8);
    u64 file = file_of(task, fd);
    return file ? read64(file + FILE_PATH + 8) : 0;
}

/* The component that begins at `at`, whose length is known. */
static __always_inline void take_ends(struct name_ends *ends, struct path_buffer *argument, u32 at, u32 len) {
    ends->len = len;
    ends->some = len < ENDS ? len : ENDS;
    ends->head[0] = ends->head[1] = ends->tail[0] = ends->tail[1] = 0;
    u32 some = within(ends->some, 2 * ENDS);
    bpf_probe_read_kernel(ends->head, some, argument->bytes + within(at, PATH_CAP));
    bpf_probe_read_kernel(ends->tail, some, argument->bytes + within(at + len - some, PATH_CAP));
}

static __always_inline u32 has_ends(struct name_ends *ends, u64 hash_len, u64 name) {
    u32 len = ends->len, some = within(ends->some, 2 * ENDS);
    if (!len || (hash_len >> 32) != len) return 0;
    u64 head[ENDS / 4] = {}, tail[ENDS / 4] = {};
    bpf_probe_read_kernel(head, some, (void *)name);
    bpf_probe_read_kernel(tail, some, (void *)(name + len - some));
    return !((head[0] ^ ends->head[0]) | (head[1] ^ ends->head[1]) | (tail[0] ^ ends->tail[0]) |
             (tail[1] ^ ends->tail[1]));
}

/* Whether the directory is the one that the argument says, or that the call has changed. */
static __always_inline u32 is_its_place(struct scratch *s, struct notes *notes, u64 dir) {
    if (dir == s->start) return 1;
    struct dentry_block block = {};
    bpf_probe_read_kernel(&block, sizeof(block), (void *)(dir + DENTRY_PARENT));
    for (u32 i = 0; i < NOTED; i++)
        if (i < notes->count && notes->inodes[i].inode == block.inode) return 1;
    return has_ends(&s->above, block.hash_len, block.name);
}

static __always_inline void look_at_alias(struct scratch *s, struct notes *notes, u64 dentry) {
    s32 count = read32(dentry + DENTRY_COUNT), pins = s->pins;
    if (count <= pins) return; /* cached only, or being thrown away */
    struct dentry_block block = {};
    bpf_probe_read_kernel(&block, sizeof(block), (void *)(dentry + DENTRY_PARENT));
    s->rank = RANK_HELD;
    if (has_ends(&s->name, block.hash_len, block.name))
        s->rank = is_its_place(s, notes, block.parent) ? RANK_PLACED : RANK_NAMED;
    u32 rank = s->rank;
    if (rank < s->best_rank) return;
    s->ties = rank == s->best_rank ? s->ties + 1 : 0;
    s->best_rank = rank;
    s->best = dentry;
}

static __always_inline u64 alias_of(struct scratch *s, void *task, struct notes *notes, u64 inode,
                                    struct call_row *row) {
    u64 first = read64(inode + INODE_ALIASES);
    if (!first) return 0;
    if (!read64(first)) return first - DENTRY_ALIAS;
    struct path_buffer *argument = &s->buffers[BUFFER_ARGUMENT];
    u32 len = read_argument(argument, s->args[row->path & 7]);
    if (!len) argument->bytes[0] = 0;
    len = last_component(argument, len, &s->last);
    take_ends(&s->name, argument, s->last.at, len);
    len = last_component(argument, s->last.at, &s->last);
    take_ends(&s->above, argument, s->last.at, len);
    s->start = len ? 0 : start_of(s, task, row);
    s->node = first;
    s->best = first - DENTRY_ALIAS;
    s->best_rank = s->ties = 0;
    s->pins = pins_of(read64(inode + INODE_SB));
    for (int i = 0; i < ALIASES; i++) {
        FORGET_REGISTERS;
        u64 node = s->node;
        if (!node) break;
        look_at_alias(s, notes, node - DENTRY_ALIAS);
        s->node = read64(node);
    }
    /* rename tells by what has moved, the directory of what is removed is noted, and a descriptor knows its name. */
    u32 rank = s->best_rank;
    if (row->kind == KIND_RENAME || (row->kind == KIND_REMOVE && rank >= RANK_NAMED)) return s->best;
    if (row->kind == KIND_PATH && !s->name.len) return s->best;
    if (s->ties || !rank || (s->node && rank < RANK_PLACED)) notes->unsure = 1;
    return s->best;
}
