/* Operations that pass system calls the tracepoint backend cannot see into: each must be counted.
 *
 *   uncovered DIR
 *
 * One unlink and one write by 32-bit system calls, one write by io_submit, one empty io_uring_enter. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long compat(long nr, long b, long c, long d) {
    long result;
    asm volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(b), "c"(c), "d"(d) : "memory");
    return result;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    /* 32-bit calls take 32-bit pointers. */
    char *low = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (low == MAP_FAILED) return 1;
    snprintf(low, 4096, "%s/compat", argv[1]);
    int fd = open(low, O_CREAT | O_WRONLY, 0600);
    if (fd < 0) return 1;
    if (compat(4, fd, (long)low, 3) != 3) return 3; /* write */
    if (compat(10, (long)low, 0, 0)) return 4;      /* unlink */
    aio_context_t context = 0;
    if (syscall(SYS_io_setup, 4, &context)) return 5;
    struct iocb request = {
        .aio_fildes = fd, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_buf = (long)low, .aio_nbytes = 3};
    struct iocb *requests[] = {&request};
    if (syscall(SYS_io_submit, context, 1, requests) != 1) return 6;
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    int ring = syscall(SYS_io_uring_setup, 4, &params);
    if (ring < 0) return 7;
    if (syscall(SYS_io_uring_enter, ring, 0, 0, 0, 0, 0)) return 8;
    return 0;
}
