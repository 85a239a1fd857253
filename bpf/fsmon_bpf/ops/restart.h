/* Calls that a signal interrupts: programs see them done again, or -EINTR, and never what the kernel returned. */

#define FIRST_RESTART (-512) /* ERESTARTSYS … ERESTART_RESTARTBLOCK, include/linux/errno.h */
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define LAST_RESTART (-516)
#define EINTR 4
#define SA_RESTART 0x10000000

static __always_inline u32 may_restart(s64 ret) {
    return ret <= FIRST_RESTART && ret >= LAST_RESTART;
}

/* At the delivery of a signal: whether it ends a call that was interrupted, which is now known not to be done again
 * (handle_signal in arch/x86/kernel/signal.c). action: struct k_sigaction, handler and flags first. Without a handler
 * the call is done again, unless the task dies. */
static __always_inline u32 ends_call(s64 ret, u64 action) {
    if (!may_restart(ret)) return 0;
    u64 handler = read64(action), flags = read64(action + 8);
    if (handler < 2 || ret == -ERESTARTNOINTR) return 0; /* SIG_DFL, SIG_IGN */
    return ret != -ERESTARTSYS || !(flags & SA_RESTART);
}
