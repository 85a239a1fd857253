/* Test program: both paths of a file that the test's process locks, by bpf_d_path and by the walk. */
#include <linux/types.h>
#include "generated.h"
#include "kernel.h"
#include "maps.h"
#include "path.h"

struct both {
    s64 size; /* what bpf_d_path gave */
    u32 walked, cut, unlinked, number;
    char d_path[PATH_CAP], walk[PATH_CAP];
};
BPF_ARRAY(both, struct both, 1);

int lsm__file_lock(u64 *ctx) {
    int zero = 0;
    if (bpf_get_current_pid_tgid() >> 32 != setting(SETTING_MARKER_PID)) return 0;
    struct both *out = both.lookup(&zero);
    struct scratch *s = scratches.lookup(&zero); /* nobody else's: one thread of one process comes here */
    if (!out || !s) return 0;
    u64 path[2] = {};
    bpf_probe_read_kernel(path, sizeof(path), (void *)(ctx[0] + FILE_PATH));
    out->number += 1;
    out->unlinked = !read64(path[1] + DENTRY_HASH_PPREV);
    out->size = bpf_d_path((struct path *)(ctx[0] + FILE_PATH), out->d_path, PATH_CAP);
    s->event.path_truncated = 0;
    s->file.named = 0;
    s->file.mnt = path[0];
    s->file.dentry = path[1];
    path_of(s, (void *)bpf_get_current_task_btf(), &s->file, &s->buffers[BUFFER_PATH], &s->event.path);
    out->walked = s->event.path.len;
    out->cut = s->event.path_truncated;
    bpf_probe_read_kernel(out->walk, within(s->event.path.len, PATH_CAP), (void *)s->event.path.at);
    return 0;
}
