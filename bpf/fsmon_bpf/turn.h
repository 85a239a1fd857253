/* Which programs report, where others are attached beside them that are to follow: exactly one of both, a call.
 *
 * The next ones are attached behind those that report, so at the end of each call they run second, in the same task.
 * The first decide by one look at whose turn it is, and leave a mark when it is not theirs any more. The second,
 * as long as they wait, report what has a mark and nothing else. A look of their own would not do: between the two
 * the task may be preempted, and the turn may change. */

BPF_TABLE(SHARED("array", "generation"), u32, u64, generation, 1);
BPF_TABLE(SHARED("lru_hash", "handed_over"), u64, u64, handed_over, 4096); /* pid and tid */

#define WAITING (1ULL << 63) /* of SETTING_GENERATION */

/* To be asked once a call. */
static __always_inline u32 is_our_turn(void) {
    u64 ours = setting(SETTING_GENERATION);
    if (!ours) return 1;
    u64 task = bpf_get_current_pid_tgid();
    if (ours & WAITING) {
        if (!handed_over.lookup(&task)) return 0;
        handed_over.delete(&task);
        return 1;
    }
    u32 key = 0;
    u64 *turn = generation.lookup(&key);
    if (turn && *turn == ours) return 1;
    handed_over.update(&task, &ours);
    return 0;
}
