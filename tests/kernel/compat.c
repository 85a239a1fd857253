/* Does COUNT of each operation by 32-bit system calls, and writes what a capture must show of it.
 *
 *   compat DIR COUNT
 *
 * Output, a line an event: operation, path, target path or "-", result, the 64-bit number of the call. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *dir;
static char *low; /* 32-bit calls take 32-bit pointers */

static long call(long nr, long b, long c, long d, long si, long di) {
    long result;
    register long bp asm("r12") = 0;
    asm volatile("push %%rbp; mov %%r12, %%rbp; int $0x80; pop %%rbp"
                 : "=a"(result)
                 : "a"(nr), "b"(b), "c"(c), "d"(d), "S"(si), "D"(di), "r"(bp)
                 : "memory");
    if ((int)result < 0) fprintf(stderr, "32-bit call %ld: %s\n", nr, strerror(-(int)result)), exit(1);
    return (int)result;
}

static long path(int slot, const char *what, int i) {
    char *text = low + 4096 + 512 * slot;
    snprintf(text, 512, "%s/%s%d", dir, what, i);
    return (long)text;
}

static long socketcall(long which, long a, long b, long c) {
    int *arguments = (int *)(low + 8192);
    arguments[0] = a, arguments[1] = b, arguments[2] = c;
    return call(102, which, (long)arguments, 0, 0, 0);
}

static long address(const char *what, int i) {
    struct sockaddr_un *name = (void *)(low + 12288);
    name->sun_family = AF_UNIX;
    if (snprintf(name->sun_path, sizeof(name->sun_path), "%s/%s%d", dir, what, i) > 107) exit(1);
    return (long)name;
}

static void expect(const char *op, const char *what, const char *target, int i, long result, int nr) {
    printf("%s\t%s/%s%d\t", op, dir, what, i);
    if (*target) printf("%s/%s%d\t", dir, target, i);
    else printf("-\t");
    printf("%ld\t%d\n", result, nr);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    dir = argv[1];
    low = mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0);
    if (low == MAP_FAILED) return 1;
    for (int i = 0; i < atoi(argv[2]); i++) {
        long fd = call(5, path(0, "f", i), O_CREAT | O_RDWR, 0600, 0, 0);
        expect("create", "f", "", i, fd, SYS_open);
        expect("write", "f", "", i, call(4, fd, (long)low, 100, 0, 0), SYS_write);
        expect("write", "f", "", i, call(181, fd, (long)low, 7, 5, 0), SYS_pwrite64);
        expect("read", "f", "", i, call(180, fd, (long)low, 50, 90, 0), SYS_pread64);
        expect("truncate", "f", "", i, call(194, fd, 64, 0, 0, 0), SYS_ftruncate);
        expect("chmod", "f", "", i, call(94, fd, 0640, 0, 0, 0), SYS_fchmod);
        expect("chmod", "f", "", i, call(15, path(0, "f", i), 0600, 0, 0, 0), SYS_chmod);
        expect("chown", "f", "", i, call(212, path(0, "f", i), 1, 1, 0, 0), SYS_chown);
        call(6, fd, 0, 0, 0, 0);
        fd = call(295, AT_FDCWD, path(0, "f", i), O_WRONLY | O_TRUNC, 0, 0);
        expect("open", "f", "", i, fd, SYS_openat);
        call(6, fd, 0, 0, 0, 0);
        expect("link", "f", "l", i, call(9, path(0, "f", i), path(1, "l", i), 0, 0, 0), SYS_link);
        expect("rename", "f", "r", i, call(38, path(0, "f", i), path(1, "r", i), 0, 0, 0), SYS_rename);
        expect("unlink", "l", "", i, call(301, AT_FDCWD, path(0, "l", i), 0, 0, 0), SYS_unlinkat);
        expect("unlink", "r", "", i, call(10, path(0, "r", i), 0, 0, 0, 0), SYS_unlink);
        expect("mkdir", "d", "", i, call(39, path(0, "d", i), 0700, 0, 0, 0), SYS_mkdir);
        fd = call(5, path(0, "d", i), O_RDONLY | O_DIRECTORY, 0, 0, 0);
        expect("open", "d", "", i, fd, SYS_open);
        expect("readdir", "d", "", i, call(89, fd, (long)low, 1, 0, 0), SYS_getdents);
        call(6, fd, 0, 0, 0, 0);
        expect("rmdir", "d", "", i, call(40, path(0, "d", i), 0, 0, 0, 0), SYS_rmdir);
        expect("mknod", "p", "", i, call(14, path(0, "p", i), S_IFIFO | 0600, 0, 0, 0), SYS_mknod);
        fd = socketcall(1, AF_UNIX, SOCK_STREAM, 0);
        expect("bind", "s", "", i, socketcall(2, fd, address("s", i), sizeof(struct sockaddr_un)), SYS_bind);
        call(6, fd, 0, 0, 0, 0);
    }
    return 0;
}
