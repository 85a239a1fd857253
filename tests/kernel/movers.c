/* Four processes write to a file each while a fifth moves the files and what is above them: movers ROOT WRITES.
 *
 * ROOT has the directories of test_moving.py. Write i of writer w has offset i and length 1 + w. Output:
 *   F w pid inode path           where its file is at the start
 *   W w begin end                a line a write, in order
 *   R exchange begin end from to  a line a rename, in order
 * Times are of the boot clock in ns, from before the call and after it; paths are relative to ROOT. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WRITERS 4
#define MOST_RENAMES (1 << 20)
#define EXCHANGE 2

struct span {
    unsigned long begin, end;
};
struct shared {
    int started, finished;
    struct span renames[MOST_RENAMES];
};

static const char *const files[WRITERS] = {"outer/watched/a/f0", "outer/watched/b/sub/f1",
                                           "outer/watched/stay/f2", "out/c/f3"};
/* Each is followed by its undoing. Names of other lengths and letters, so that a mixture would show. */
static const struct {
    unsigned flags;
    const char *from, *to;
} moves[] = {
    {0, "outer/watched", "outer/ANOTHER-NAME-OF-IT"},
    {0, "outer", "THE-PARENT-RENAMED"},
    {EXCHANGE, "outer/watched/stay", "outer/watched/other"},
    {0, "outer/watched/stay/f2", "outer/watched/other/DEEPER-THAN-BEFORE"},
    {0, "outer/watched/a/f0", "out/F0"},
    {0, "outer/watched/b", "out/MOVED-OUT"},
    {EXCHANGE, "outer/watched/d", "out/c"},
    {0, "outer/watched/b/sub", "outer/watched/a/SUB"},
};
#define MOVES (sizeof moves / sizeof *moves)

static unsigned long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * 1000000000UL + t.tv_nsec;
}

static void *shared_memory(size_t bytes) {
    void *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) exit(1);
    return memory;
}

static void write_all(int w, int fd, long count, struct span *spans, struct shared *shared) {
    char bytes[WRITERS] = {0};
    __sync_fetch_and_add(&shared->started, 1);
    while (__atomic_load_n(&shared->started, __ATOMIC_ACQUIRE) < WRITERS) usleep(100);
    for (long i = 0; i < count; i++) {
        spans[i].begin = now();
        if (syscall(SYS_pwrite64, fd, bytes, 1L + w, i) != 1 + w) exit(1);
        spans[i].end = now();
    }
    __sync_fetch_and_add(&shared->finished, 1);
}

int main(int argc, char **argv) {
    if (argc != 3 || chdir(argv[1])) return 2;
    long count = atol(argv[2]), done = 0;
    struct shared *shared = shared_memory(sizeof *shared);
    struct span *writes[WRITERS];
    for (int w = 0; w < WRITERS; w++) {
        struct stat file;
        int fd = open(files[w], O_CREAT | O_WRONLY, 0600);
        if (fd < 0 || fstat(fd, &file)) return 1;
        writes[w] = shared_memory(count * sizeof *writes[w]);
        pid_t pid = fork();
        if (!pid) {
            write_all(w, fd, count, writes[w], shared);
            _exit(0);
        }
        printf("F %d %d %lu %s\n", w, pid, file.st_ino, files[w]);
        close(fd);
    }
    /* A rename begun is always undone, so that each loop starts from the same names. */
    while (done % (2 * MOVES) || __atomic_load_n(&shared->finished, __ATOMIC_ACQUIRE) < WRITERS) {
        int move = done / 2 % MOVES, back = done % 2 && moves[move].flags != EXCHANGE;
        const char *from = back ? moves[move].to : moves[move].from;
        const char *to = back ? moves[move].from : moves[move].to;
        if (done == MOST_RENAMES) return 1;
        shared->renames[done].begin = now();
        if (renameat2(AT_FDCWD, from, AT_FDCWD, to, moves[move].flags)) return 1;
        shared->renames[done++].end = now();
        usleep(20);
    }
    for (int w = 0, status; w < WRITERS; w++)
        if (wait(&status) < 0 || status) return 1;
    for (int w = 0; w < WRITERS; w++)
        for (long i = 0; i < count; i++) printf("W %d %lu %lu\n", w, writes[w][i].begin, writes[w][i].end);
    for (long i = 0; i < done; i++) {
        int move = i / 2 % MOVES, exchange = moves[move].flags == EXCHANGE, back = i % 2 && !exchange;
        printf("R %d %lu %lu %s %s\n", exchange, shared->renames[i].begin, shared->renames[i].end,
               back ? moves[move].to : moves[move].from, back ? moves[move].from : moves[move].to);
    }
    return 0;
}
