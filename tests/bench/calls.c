/* Wall nanoseconds of one call, best of several rounds: calls KIND PATH COUNT, KIND one of getppid, pipe, file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 7

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    long count = atol(argv[3]);
    char byte = 0, fill[4096] = {0};
    int pipes[2], fd = -1, piped = !strcmp(argv[1], "pipe"), file = !strcmp(argv[1], "file");
    if (file && (fd = open(argv[2], O_RDONLY)) < 0) return 1;
    if (piped && pipe(pipes)) return 1;
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double spent = 0;
        for (long done = 0; done < count;) {
            long some = count - done < 4096 ? count - done : 4096;
            if (piped && write(pipes[1], fill, some) != some) return 1;
            double start = now();
            for (long i = 0; i < some; i++) {
                if (piped) syscall(SYS_read, pipes[0], &byte, 1);
                else if (file) syscall(SYS_pread64, fd, &byte, 1, 0);
                else syscall(SYS_getppid);
            }
            spent += now() - start;
            done += some;
        }
        if (spent / count < best) best = spent / count;
    }
    printf("%.1f\n", best);
    return 0;
}
