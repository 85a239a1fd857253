/* Path strings that a call was given: read from user memory, and taken apart. */

static __always_inline int same_name(char *name, struct path_buffer *argument, u32 at, u32 len) {
    u64 differs = 0;
    for (u32 i = 0; i < 32; i++) {
        if (i * 8 >= len) break;
        u64 a = *(u64 *)(name + i * 8);
        u64 b = *(u64 *)(argument->bytes + within(at + i * 8, PATH_CAP));
        u32 left = len - i * 8;
        u64 mask = left < 8 ? (1ULL << (8 * left)) - 1 : ~0ULL;
        differs |= (a ^ b) & mask;
    }
    return !differs;
}

#define TRAILING_SLASHES 16

/* Finds the last component of the path in the buffer, trailing slashes not counted; returns its length. */
static __always_inline u32 last_component(struct path_buffer *argument, u32 len, struct component *last) {
    last->end = len;
    for (int i = 0; i < TRAILING_SLASHES; i++) {
        FORGET_REGISTERS;
        u32 end = last->end;
        if (!end || argument->bytes[within(end - 1, PATH_CAP)] != '/') break;
        last->end = end - 1;
    }
    last->at = last->end;
    for (int i = 0; i < 256; i++) {
        FORGET_REGISTERS;
        u32 at = last->at;
        if (!at || argument->bytes[within(at - 1, PATH_CAP)] == '/') break;
        last->at = at - 1;
    }
    return last->end - last->at;
}

/* Length without the NUL; 0 if it cannot be read. */
static __always_inline u32 read_argument(struct path_buffer *buffer, u64 at) {
    long n = bpf_probe_read_user_str(buffer->bytes, PATH_CAP, (void *)at);
    return n > 0 ? (n - 1) & (PATH_CAP - 1) : 0;
}
