/* Test program: encodes what user space puts into `given`, whenever the test's process calls fadvise64. */
#include <linux/types.h>
#include "generated.h"

#define FADVISE64 221
struct texts {
    char bytes[TEXTS * TEXT_CAP]; /* flat: BCC gives Python the wrong size of an array of arrays */
};
struct given {
    struct file_event event;
    u32 lengths[TEXTS];
};
BPF_ARRAY(given, struct given, 1);
BPF_ARRAY(texts, struct texts, 1);
BPF_PERCPU_ARRAY(records, struct record, 1);
BPF_RINGBUF_OUTPUT(ring, 1024);

int on_sys_enter(struct bpf_raw_tracepoint_args *ctx) {
    int zero = 0;
    if (ctx->args[1] != FADVISE64 || bpf_get_current_pid_tgid() >> 32 != TEST_PID) return 0;
    struct given *from = given.lookup(&zero);
    struct texts *text = texts.lookup(&zero);
    struct record *out = records.lookup(&zero);
    if (!from || !text || !out) return 0;
    u64 base = (u64)text;
    SET_TEXTS
    out->length = 0;
    out->beyond_ascii = 0;
    put_byte(out, 0);
    encode_operation(out, &from->event);
    encode_outcome(out, &from->event);
    out->bytes[0] = out->beyond_ascii;
    u32 size = out->length;
    if (size > RECORD_CAP) return 0;
    void *bytes = out->bytes;
    ring.ringbuf_output(bytes, size, 0);
    return 0;
}
