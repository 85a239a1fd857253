/* exec: the program that now runs. For a script that is its interpreter; the script's path is not in reach of
 * this tracepoint any more, its open and read by the interpreter are. */

static __always_inline int do_exec(struct scratch *s, void *task, u64 bprm) {
    u64 file = read64(bprm + BPRM_FILE);
    if (!file) return 0;
    begin(s, OPERATION_EXEC, HOOK_SCHED_PROCESS_EXEC);
    s->file.mnt = read64(file + FILE_PATH);
    s->file.dentry = read64(file + FILE_PATH + 8);
    fill_inode(&s->file, read64(file + FILE_INODE));
    if (!is_watched(s, &s->file)) return 0;
    if (!is_wanted(OPERATION_EXEC) || is_ignored()) return 0;
    s->event.path_source = PATHSOURCE_WALK;
    s->event.result = 0;
    s->event.present |= HAS_result;
    return 1;
}
