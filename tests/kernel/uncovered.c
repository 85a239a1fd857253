/* Operations that pass system calls the tracepoint backend cannot see into: each must be counted.
 *
 *   uncovered DIR
 *
 * One mmap by the oldest 32-bit call, one write by io_submit, one empty io_uring_enter. */
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
    int fd = open(low, O_CREAT | O_RDWR, 0600);
    if (fd < 0) return 1;
    unsigned *arguments = (unsigned *)low;
    unsigned map[] = {0, 4096, PROT_READ, MAP_PRIVATE, fd, 0};
    memcpy(arguments, map, sizeof map);
    int mapped = compat(90, (long)arguments, 0, 0);
    if (mapped < 0 && mapped > -4096) return 3;
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
