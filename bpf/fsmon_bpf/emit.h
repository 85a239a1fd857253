/* From a filled event to bytes in the ring. Only this file touches the ring and counts what it refuses. */

BPF_RINGBUF_OUTPUT(ring, RING_PAGES);

#define FLAG_BEYOND_ASCII 1

/* Everything up to what only the end of the call knows. */
static __always_inline void encode_beginning(struct scratch *s) {
    struct record *out = &s->record;
    out->length = 0;
    out->beyond_ascii = 0;
    put_byte(out, 0);
    encode_operation(out, &s->event);
}

static __always_inline void send(struct record *out, u32 op) {
    u32 size = out->length;
    if (size > RECORD_CAP) {
        count_outcome(STAGE_OVERSIZE, op);
        return;
    }
    out->bytes[0] = out->beyond_ascii ? FLAG_BEYOND_ASCII : 0;
    void *bytes = out->bytes;
    /* The length is known only now: output copies it once, exactly as long as it is. */
    if (ring.ringbuf_output(bytes, size, 0)) count_outcome(STAGE_RING_FULL, op);
    else count_outcome(STAGE_EMITTED, op);
}

static __always_inline void emit(struct scratch *s) {
    encode_beginning(s);
    encode_outcome(&s->record, &s->event);
    send(&s->record, s->event.op);
}
