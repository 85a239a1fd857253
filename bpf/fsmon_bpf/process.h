/* Who did it. */

static __always_inline void exe_path(struct scratch *s, void *task, struct process_cache *cache) {
    u64 mm = 0, exec_id = 0;
    LOAD64(mm, task, TASK_MM);
    if (!mm) return; /* a kernel thread runs no program */
    u64 file = read64(mm + MM_EXE_FILE);
    if (!file) return;
    exec_id = read32((u64)task + TASK_SELF_EXEC_ID);
    s->event.present |= HAS_exe;
    u64 epoch = setting(SETTING_EPOCH), dentry = read64(file + FILE_PATH + 8);
    struct dentry_block block = {};
    bpf_probe_read_kernel(&block, sizeof(block), (void *)(dentry + DENTRY_PARENT));
    if (cache && cache->exe_file == file && cache->exec_id == exec_id && cache->epoch == epoch &&
        cache->exe_parent == block.parent && cache->exe_hash_len == block.hash_len && cache->exe_len) {
        s->event.exe.at = (u64)cache->exe;
        s->event.exe.len = cache->exe_len;
        return;
    }
    struct path_buffer *buffer = &s->buffers[BUFFER_EXE];
    struct walk *walk = &s->walk;
    task_root(task, walk);
    walk->position = PATH_CAP - 1;
    walk->mnt = read64(file + FILE_PATH);
    walk->dentry = dentry;
    prepend_path(walk, buffer);
    u32 start = within(walk->position, PATH_CAP);
    u32 len = PATH_CAP - 1 - start;
    s->event.exe.at = (u64)buffer->bytes + start;
    s->event.exe.len = len;
    if (!cache || len >= EXE_CAP) return;
    bpf_probe_read_kernel(cache->exe, within(len, EXE_CAP), buffer->bytes + start);
    cache->exe_len = len;
    cache->exe_file = file;
    cache->exec_id = exec_id;
    cache->epoch = epoch;
    cache->exe_parent = block.parent;
    cache->exe_hash_len = block.hash_len;
}

static __always_inline void fill_process(struct scratch *s, void *task) {
    struct file_event *event = &s->event;
    u64 id = bpf_get_current_pid_tgid();
    event->pid = id >> 32;
    event->tid = (u32)id;
    u64 leader = 0, parent = 0, cred = 0, nsproxy = 0;
    LOAD64(leader, task, TASK_GROUP_LEADER);
    LOAD64(parent, task, TASK_REAL_PARENT);
    LOAD64(cred, task, TASK_CRED);
    LOAD64(nsproxy, task, TASK_NSPROXY);
    LOAD64(event->process_start, leader, TASK_START_BOOTTIME);
    u32 ppid = 0, uid = 0, gid = 0, euid = 0;
    LOAD32(ppid, parent, TASK_TGID);
    LOAD32(uid, cred, CRED_UID);
    LOAD32(gid, cred, CRED_GID);
    LOAD32(euid, cred, CRED_EUID);
    event->ppid = ppid;
    event->uid = uid;
    event->gid = gid;
    event->euid = euid;
#ifdef TASK_LOGINUID
    u32 loginuid = 0;
    LOAD32(loginuid, task, TASK_LOGINUID);
    if (loginuid != (u32)-1) {
        event->loginuid = loginuid;
        event->present |= HAS_loginuid;
    }
#endif
    event->cgroup_id = bpf_get_current_cgroup_id();
    if (nsproxy) event->mount_ns = read32(read64(nsproxy + NSPROXY_MNT_NS) + MNT_NS_NS + NS_INUM);
    bpf_get_current_comm(s->comm, sizeof(s->comm));
    u32 len = 0;
#pragma unroll
    for (int i = 0; i < 16; i++) {
        u64 byte = (u8)s->comm[i];
        len += ((byte | (0 - byte)) >> 63) & (len == i);
    }
    event->comm.at = (u64)s->comm;
    event->comm.len = len;
    struct process_cache *cache = process_caches.task_storage_get(
        (struct task_struct *)task, 0, s->locked ? 0 : BPF_LOCAL_STORAGE_GET_F_CREATE);
    fill_container(s, task, cache);
    exe_path(s, task, cache);
}
