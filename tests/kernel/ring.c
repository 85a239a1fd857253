/* Does COUNT of each operation by io_uring, and writes what a capture must show of it.
 *
 *   ring WAY DIR COUNT
 *
 * WAY: inline (the submitter does what it can), async (workers do all), sqpoll (a kernel thread submits), linked (each
 * request waits for the one before it). Output, a line an event: operation, path, target path or "-", result.
 * Raw system calls: what liburing does besides them is no file operation. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 64

static const char *way, *dir;
static int ring, count, chosen;
static unsigned *sq_tail, *sq_mask, *sq_array, *sq_flags, *cq_head, *cq_tail, *cq_mask;
static struct io_uring_sqe *entries;
static struct io_uring_cqe *completions;
static int waiting, results[ENTRIES];

static void set_up(void) {
    struct io_uring_params params = {0};
    if (!strcmp(way, "sqpoll")) params.flags = IORING_SETUP_SQPOLL, params.sq_thread_idle = 1000;
    if (!strcmp(way, "async")) chosen = IOSQE_ASYNC;
    if (!strcmp(way, "linked")) chosen = IOSQE_IO_HARDLINK; /* short reads do not end it */
    ring = syscall(SYS_io_uring_setup, ENTRIES, &params);
    if (ring < 0) exit(2);
    char *sq = mmap(0, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    char *cq = mmap(0, params.cq_off.cqes + params.cq_entries * sizeof *completions, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_CQ_RING);
    entries = mmap(0, params.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                   ring, IORING_OFF_SQES);
    sq_tail = (unsigned *)(sq + params.sq_off.tail), sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
    sq_array = (unsigned *)(sq + params.sq_off.array), sq_flags = (unsigned *)(sq + params.sq_off.flags);
    cq_head = (unsigned *)(cq + params.cq_off.head), cq_tail = (unsigned *)(cq + params.cq_off.tail);
    cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
    completions = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
}

/* The next request of the batch. */
static void add(int opcode, int fd, const void *at, unsigned length, unsigned long offset, unsigned flags) {
    unsigned tail = *sq_tail, index = tail & *sq_mask;
    struct io_uring_sqe *entry = &entries[index];
    memset(entry, 0, sizeof *entry);
    entry->opcode = opcode;
    entry->fd = fd;
    entry->addr = (unsigned long)at;
    entry->len = length;
    entry->off = offset;
    entry->rw_flags = flags;
    entry->flags = chosen;
    entry->user_data = waiting++;
    sq_array[index] = index;
    __atomic_store_n(sq_tail, tail + 1, __ATOMIC_RELEASE);
}

/* Submits the batch in one call, and waits for all of it. */
static void run(void) {
    unsigned flags = IORING_ENTER_GETEVENTS;
    if (!strcmp(way, "sqpoll")) flags |= IORING_ENTER_SQ_WAKEUP;
    int left = waiting;
    syscall(SYS_io_uring_enter, ring, waiting, waiting, flags, 0, 0);
    while (left) {
        unsigned head = *cq_head;
        if (head == __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE)) {
            syscall(SYS_io_uring_enter, ring, 0, 1, flags, 0, 0);
            continue;
        }
        struct io_uring_cqe *done = &completions[head & *cq_mask];
        results[done->user_data] = done->res;
        if (done->res < 0)
            fprintf(stderr, "request %llu: %s\n", done->user_data, strerror(-done->res)), exit(1);
        __atomic_store_n(cq_head, head + 1, __ATOMIC_RELEASE);
        left--;
    }
    waiting = 0;
}

static char *name(const char *what, int i) {
    static char names[4 * ENTRIES][512];
    static int turn;
    char *text = names[turn++ % (4 * ENTRIES)];
    snprintf(text, 512, "%s/%s%d", dir, what, i);
    return text;
}

static void expect(const char *op, const char *what, const char *target, int i) {
    printf("%s\t%s\t%s\t%d\n", op, name(what, i), *target ? name(target, i) : "-", results[i]);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    way = argv[1], dir = argv[2], count = atoi(argv[3]);
    if (count > ENTRIES) return 2;
    static char text[ENTRIES][64];
    int files[ENTRIES];
    set_up();
    for (int i = 0; i < count; i++) add(IORING_OP_OPENAT, AT_FDCWD, name("f", i), 0600, 0, O_CREAT | O_RDWR);
    run();
    for (int i = 0; i < count; i++) files[i] = results[i], expect("create", "f", "", i);
    for (int i = 0; i < count; i++) add(IORING_OP_WRITE, files[i], text[i], 10 + i, 0, 0);
    run();
    for (int i = 0; i < count; i++) expect("write", "f", "", i);
    if (!strcmp(way, "inline")) { /* not in memory: the request comes to the file more than once */
        for (int i = 0; i < count; i++) fsync(files[i]), posix_fadvise(files[i], 0, 0, POSIX_FADV_DONTNEED);
    }
    for (int i = 0; i < count; i++) add(IORING_OP_READ, files[i], text[i], 64, i % 5, 0);
    run();
    for (int i = 0; i < count; i++) expect("read", "f", "", i);
    /* One file for all: what distinguishes the requests is not the file. */
    for (int i = 0; i < count; i++) add(IORING_OP_READ, files[0], text[i], 1 + i % 10, 0, 0);
    run();
    for (int i = 0; i < count; i++) printf("read\t%s\t-\t%d\n", name("f", 0), results[i]);
    for (int i = 0; i < count; i++) add(IORING_OP_OPENAT, AT_FDCWD, name("f", i), 0, 0, O_RDONLY);
    run();
    for (int i = 0; i < count; i++) expect("open", "f", "", i);
    for (int i = 0; i < count; i++) add(IORING_OP_FALLOCATE, files[i], (void *)8192, 0, 0, 0);
    run();
    for (int i = 0; i < count; i++) expect("fallocate", "f", "", i);
    for (int i = 0; i < count; i++) add(IORING_OP_MKDIRAT, AT_FDCWD, name("d", i), 0700, 0, 0);
    run();
    for (int i = 0; i < count; i++) expect("mkdir", "d", "", i);
    for (int i = 0; i < count; i++)
        add(IORING_OP_RENAMEAT, AT_FDCWD, name("f", i), AT_FDCWD, (unsigned long)name("r", i), 0);
    run();
    for (int i = 0; i < count; i++) expect("rename", "f", "r", i);
    for (int i = 0; i < count; i++) add(IORING_OP_UNLINKAT, AT_FDCWD, name("r", i), 0, 0, 0);
    run();
    for (int i = 0; i < count; i++) expect("unlink", "r", "", i);
    for (int i = 0; i < count; i++) add(IORING_OP_UNLINKAT, AT_FDCWD, name("d", i), 0, 0, AT_REMOVEDIR);
    run();
    for (int i = 0; i < count; i++) expect("rmdir", "d", "", i);
    return 0;
}
