/* Paths that hooks take by bpf_d_path: the exact names of that moment, under the kernel's own locks.
 *
 * They stand in a place of a pool until the call ends; with the pool empty the walk at the end of the call names the
 * file. No task storage: 6.1 refuses every task of a CPU while one is preempted in making or deleting its own, and 8 KiB
 * are long to make (116 of 6,000 operations were lost so under preempt=full). */

#define KEPT_CAP 4096
#define KEPT_DIR_CAP 2048 /* of a directory that a name is to follow */
struct kept_paths {
    char path[KEPT_CAP], target[KEPT_CAP];
};
#define PLACES 256
BPF_ARRAY(kept_paths, struct kept_paths, PLACES);
BPF_STACK(free_places, u32, PLACES); /* user space fills it: 1 to PLACES - 1, 0 is none */

/* A note's place, and how long the paths in it are; 0: the walk names it. */
struct kept {
    u32 place, path_len, target_len, spare;
};

static __always_inline struct kept_paths *paths_of(struct kept *kept) {
    int key = within(kept->place, PLACES);
    return kept_paths.lookup(&key);
}

static __always_inline struct kept_paths *take_place(struct kept *kept) {
    if (!kept->place) {
        u32 place = 0;
        if (free_places.pop(&place)) return 0;
        kept->place = place;
    }
    return paths_of(kept);
}

static __always_inline void leave_place(struct kept *kept) {
    u32 place = kept->place;
    kept->place = kept->path_len = kept->target_len = 0;
    if (place) free_places.push(&place, 0);
}

#define DELETED_LEN 10 /* " (deleted)", which d_path adds to the path of what is unlinked */

/* The length of the path written, 0 if there is none. path is of a type that the verifier knows: no integer, no copy.
 * dentry is its own. */
static __always_inline u32 file_d_path(char *bytes, void *path, u64 dentry) {
    u32 unlinked = is_unlinked(dentry);
    long size = bpf_d_path((struct path *)path, bytes, KEPT_CAP);
    if (size < 2 || is_unlinked(dentry) != unlinked) return 0;
    return size - 1 - (unlinked ? DELETED_LEN : 0);
}

/* The same of a name in a directory. */
static __always_inline u32 name_d_path(char *bytes, void *dir, u64 dentry) {
    long size = bpf_d_path((struct path *)dir, bytes, KEPT_DIR_CAP);
    struct dentry_block block = {};
    bpf_probe_read_kernel(&block, sizeof(block), (void *)(dentry + DENTRY_PARENT));
    if (size < 2 || is_unlinked(block.parent)) return 0;
    u32 end = size == 2 ? 0 : within((u32)size - 1, KEPT_DIR_CAP); /* "/" has its slash already */
    u32 len = (block.hash_len >> 32) & 255;
    bytes[end] = '/';
    if (bpf_probe_read_kernel(bytes + end + 1, within(len, 256), (void *)block.name)) return 0;
    return end + 1 + len;
}

/* What was kept, as the event's paths. */
static __always_inline void use_kept(struct kept *kept, struct file_event *event) {
    if (!kept->place) return;
    struct kept_paths *paths = paths_of(kept);
    if (!paths) return;
    if (kept->path_len) {
        event->path.at = (u64)paths->path;
        event->path.len = kept->path_len;
        event->present |= HAS_path;
        event->path_source = PATHSOURCE_D_PATH;
    }
    if (kept->target_len) {
        event->target_path.at = (u64)paths->target;
        event->target_path.len = kept->target_len;
        event->present |= HAS_target_path;
    }
}
