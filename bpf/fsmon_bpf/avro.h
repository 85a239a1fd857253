/* Avro's binary encoding, written so that the verifier sees one path through each put.
 *
 * Every put stores at a masked offset that lives in map memory and advances it by the real length: the
 * verifier knows nothing of the offset but its bound, so the paths of two puts never multiply.
 */

/* A record is flag byte + Avro; anything longer is dropped and counted as oversize. Two strings of
 * 4,095 bytes and all other fields need under 9.5 kB; a value above 32 kB is refused by the kernel (E2BIG
 * for per-CPU arrays). */
#define RECORD_CAP 16384
#define TEXT_CAP 4096
#define RECORD_SLACK (TEXT_CAP + 64)

/* value modulo cap, a power of two. The asm hides what the compiler knows of value: it would drop the mask
 * wherever it can prove the bound, and the verifier cannot. */
static __always_inline u32 within(u32 value, u32 cap) {
    asm volatile("" : "+r"(value));
    return value & (cap - 1);
}

struct record {
    volatile u32 length; /* volatile: kept in memory between puts, see above */
    u32 beyond_ascii;    /* some text needs user space's eye (slow path) */
    char bytes[RECORD_CAP + RECORD_SLACK];
};

/* A string somewhere in kernel memory. len never includes a NUL. */
struct text {
    u64 at;
    u32 len;
};

static __always_inline void put_byte(struct record *out, u8 value) {
    u32 at = within(out->length, RECORD_CAP);
    out->bytes[at] = value;
    out->length = at + 1;
}

/* The index of a union's branch: 0 (null) or 1. */
static __always_inline void put_branch(struct record *out, u32 index) {
    put_byte(out, index << 1);
}

static __always_inline void put_boolean(struct record *out, u32 value) {
    put_byte(out, value != 0);
}

/* Zigzag, then 7 bits a byte. The long form stores all ten bytes and counts the real ones without a
 * branch: more = 1 where bits remain. */
static __always_inline void put_long(struct record *out, s64 value) {
    u64 zigzag = ((u64)value << 1) ^ (u64)(value >> 63);
    u32 at = within(out->length, RECORD_CAP);
    char *to = out->bytes + at;
    u32 used = 1;
    if (zigzag < 0x80) {
        to[0] = (char)zigzag;
        out->length = at + 1;
        return;
    }
#pragma unroll
    for (int i = 0; i < 10; i++) {
        u64 rest = i < 9 ? zigzag >> (7 * (i + 1)) : 0;
        u64 more = (rest | (0 - rest)) >> 63;
        to[i] = (char)(((zigzag >> (7 * i)) & 0x7f) | (more << 7));
        used += more;
    }
    out->length = at + used;
}

static __always_inline void put_enum(struct record *out, u32 number) {
    put_long(out, number);
}

/* Length and bytes; -1, with nothing written, where the text cannot be read: what stands in the buffer then is
 * another record's and must never leave. */
static __always_inline int put_readable_text(struct record *out, struct text *text) {
    u32 len = text->len;
    u32 start = out->length;
    if (len >= TEXT_CAP) len = TEXT_CAP - 1;
    put_long(out, len);
    u32 at = within(out->length, RECORD_CAP);
    if (len && bpf_probe_read_kernel(out->bytes + at, within(len, TEXT_CAP), (void *)text->at)) {
        out->length = start;
        return -1;
    }
    /* Zeros behind the text let the test go by 32 bytes without looking at where it ends. */
    u64 *end = (u64 *)(out->bytes + at + within(len, TEXT_CAP));
    end[0] = end[1] = end[2] = end[3] = 0;
    u64 seen = 0;
    for (u32 i = 0; i < TEXT_CAP; i += 32) {
        if (i >= len) break;
        u64 *words = (u64 *)(out->bytes + at + i);
        seen |= words[0] | words[1] | words[2] | words[3];
    }
    if (seen & 0x8080808080808080ULL) out->beyond_ascii = 1;
    out->length = at + len;
    return 0;
}

static __always_inline void put_text(struct record *out, struct text *text) {
    if (put_readable_text(out, text)) put_byte(out, 0);
}

static __always_inline void put_nullable_text(struct record *out, struct text *text) {
    u32 start = out->length;
    put_branch(out, 1);
    if (put_readable_text(out, text)) {
        out->length = start;
        put_branch(out, 0);
    }
}
