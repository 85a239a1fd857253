/* Eight threads write, each to a file of its own: storm DIR WRITES.
 *
 * Write i of thread t is OFFSET = 8 * i + t and LENGTH = 1 + t + 8 * (i % 50) bytes of DIR/thread-t, so every field of
 * its record says which write it was. Output, a line a thread: t, thread id, inode. WRITES is of all together. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 8

static const char *dir;
static long writes;
static pthread_barrier_t start;

static void *work(void *number) {
    long t = (long)number;
    char path[4096], bytes[512] = {0};
    snprintf(path, sizeof path, "thread-%ld", t);
    prctl(PR_SET_NAME, path);
    snprintf(path, sizeof path, "%s/thread-%ld", dir, t);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    struct stat file;
    if (fd < 0 || fstat(fd, &file)) exit(1);
    printf("%ld %ld %lu\n", t, syscall(SYS_gettid), file.st_ino);
    fflush(stdout);
    pthread_barrier_wait(&start);
    for (long i = 0; i < writes / THREADS; i++) {
        long length = 1 + t + 8 * (i % 50);
        if (syscall(SYS_pwrite64, fd, bytes, length, 8 * i + t) != length) exit(1);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    dir = argv[1];
    writes = atol(argv[2]);
    pthread_t threads[THREADS];
    pthread_barrier_init(&start, 0, THREADS);
    for (long t = 0; t < THREADS; t++)
        if (pthread_create(&threads[t], 0, work, (void *)t)) return 1;
    for (int t = 0; t < THREADS; t++) pthread_join(threads[t], 0);
    return 0;
}
