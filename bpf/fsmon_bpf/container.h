/* Which container a process runs in, by the name of its cgroup (v2).
 *
 * Engines name it <engine>-<64 hex digits>.scope (systemd driver: docker, cri-containerd, crio, libpod) or only by the
 * digits, with or without the engine (cgroupfs driver). What the container makes below that cgroup is inside of it. */

#define CGROUP_LEVELS 8

/* 0x80 in each byte that is not below the character; bytes must be below 0x80. */
#define EACH(byte) (0x0101010101010101ULL * (byte))
static __always_inline u64 not_below(u64 eight, u32 c) {
    return (eight + EACH(0x80 - c)) & EACH(0x80);
}

/* Not 0 if one of eight characters is no hex digit. */
static __always_inline u64 beyond_hex(u64 eight) {
    u64 low = eight & EACH(0x7f);
    u64 digits = not_below(low, '0') & ~not_below(low, '9' + 1);
    u64 letters = not_below(low, 'a') & ~not_below(low, 'f' + 1);
    return ((digits | letters) ^ EACH(0x80)) | (eight & EACH(0x80));
}

/* Not 0 if the characters from position on are not these. */
static __always_inline u32 differs(struct scratch *s, u32 position, const char *text, u32 len) {
    u32 difference = 0;
#pragma unroll
    for (u32 i = 0; i < 8; i++)
        if (i < len) difference |= (u8)s->cgroup_name[within(position + i, CGROUP_NAME)] ^ text[i];
    return difference;
}

/* The id's place in s->cgroup_name, or -1. No branch on the text before its end: each would double the verifier's
 * states. */
static __always_inline s32 container_id_at(struct scratch *s, u32 len) {
    u64 suffix = differs(s, len - 6, ".scope", 6);
    u32 start = len - CONTAINER_ID - 6 * (u32)(1 - ((suffix | (0 - suffix)) >> 63));
    u64 wrong = 0;
#pragma unroll
    for (u32 i = 0; i < CONTAINER_ID; i += 8)
        wrong |= beyond_hex(*(u64 *)(s->cgroup_name + within(start + i, CGROUP_NAME)));
    if (wrong || start >= CGROUP_NAME) return -1;
    if (start && differs(s, start - 1, "-", 1)) return -1;
    /* podman's and cri-o's monitor runs outside of the container. */
    if (start >= 7 && !differs(s, start - 7, "conmon-", 7)) return -1;
    return start;
}

/* Looks at the task's cgroup and those above for the nearest that is a container's: s->found is 1 + its id's place in
 * s->cgroup_name, or 0. In memory, since in registers each level doubles the verifier's states. */
static __always_inline void find_container(struct scratch *s, void *task) {
    u64 css_set = 0;
    LOAD64(css_set, task, TASK_CGROUPS);
    s->node = read64(css_set + CSS_SET_DFL_CGRP);
    s->found = 0;
    for (int i = 0; i < CGROUP_LEVELS; i++) {
        FORGET_REGISTERS;
        u64 cgroup = s->node;
        if (!cgroup || s->found) break;
        u64 name = read64(read64(cgroup + CGROUP_KN) + KERNFS_NAME);
        s64 size = bpf_probe_read_kernel_str(s->cgroup_name, CGROUP_NAME, (void *)name);
        if (size > CONTAINER_ID) s->found = container_id_at(s, (u32)size - 1) + 1;
        /* Its css is the beginning of a struct cgroup (include/linux/cgroup-defs.h). */
        s->node = read64(cgroup + CGROUP_SELF + CSS_PARENT);
    }
    FORGET_REGISTERS;
}

/* Read once a thread and cgroup, not once an event: a cgroup of v2 keeps its name. */
static __always_inline void fill_container(struct scratch *s, void *task, struct process_cache *cache) {
    u64 cgroup = s->event.cgroup_id;
    s->event.container_id.len = CONTAINER_ID;
    if (cache && cache->cgroup_id == cgroup) {
        if (cache->has_container) s->event.present |= HAS_container_id;
        s->event.container_id.at = (u64)cache->container_id;
        return;
    }
    find_container(s, task);
    u32 found = s->found;
    char *id = s->cgroup_name + within(found - 1, CGROUP_NAME);
    s->event.container_id.at = (u64)id;
    if (found) s->event.present |= HAS_container_id;
    if (!cache) return;
    if (found) bpf_probe_read_kernel(cache->container_id, CONTAINER_ID, id);
    cache->has_container = found != 0;
    cache->cgroup_id = cgroup;
}
