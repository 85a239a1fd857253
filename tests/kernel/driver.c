/* Does COUNT of each file operation through one way of naming files, and writes what a capture must show of it.
 *
 *   driver WAY DIR EXPECTED COUNT
 *
 * DIR is where the files are, EXPECTED how a capture must name it. WAY is how the calls name it: absolute,
 * relative, dirfd, symlink, dotdot, absent (each path string stands alone in a page that was never touched).
 * Output, a line an event: pid, operation, path, target path or "-", result, bytes asked for or "-".
 * Raw system calls only: libc would choose other ones. Static, so that nothing else opens files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#define NR_fchmodat2 452
#define NR_setxattrat 463
#define NR_removexattrat 466

static char *log_text;
static size_t log_len;
static FILE *out;
static const char *way, *dir, *expected;
static int base = AT_FDCWD, count, absent_fd = -1;
static long absent_page;

static int is(const char *name) {
    return !strcmp(way, name);
}

/* The argument for a file of DIR. */
static char *at(const char *format, ...) {
    static char texts[8][4096];
    static int turn;
    char *text = texts[turn++ % 8], name[512];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (is("relative") || is("dirfd")) snprintf(text, 4096, "%s", name);
    else if (is("symlink")) snprintf(text, 4096, "%s/alias/%s", dir, name);
    else if (is("dotdot")) snprintf(text, 4096, "%s/up/../%s", dir, name);
    else snprintf(text, 4096, "%s/%s", dir, name);
    if (!is("absent")) return text;
    off_t place = 65536L * absent_page++;
    if (pwrite(absent_fd, text, strlen(text) + 1, place) < 0) abort();
    posix_fadvise(absent_fd, 0, 0, POSIX_FADV_DONTNEED);
    char *page = mmap(0, 4096, PROT_READ, MAP_PRIVATE, absent_fd, place);
    if (page == MAP_FAILED) abort();
    return page;
}

/* The same file's path as a capture must show it. */
static char *full(const char *format, ...) {
    static char texts[8][4096];
    static int turn;
    char *text = texts[turn++ % 8], name[512];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    snprintf(text, 4096, "%s/%s", expected, name);
    return text;
}

static void expect_pid(int pid, const char *op, const char *path, const char *target, long result,
                       const char *asked) {
    fprintf(out, "%d\t%s\t%s\t%s\t%ld\t%s\n", pid, op, path, target, result, asked);
}

static void expect(const char *op, const char *path, const char *target, long result) {
    expect_pid(getpid(), op, path, target, result, "-");
}

static void expect_bytes(const char *op, const char *path, long result, long asked) {
    char text[32];
    snprintf(text, sizeof text, "%ld", asked);
    expect_pid(getpid(), op, path, "-", result, text);
}

/* A system call that must succeed. */
static long must(long nr, ...) {
    long a[6];
    va_list args;
    va_start(args, nr);
    for (int i = 0; i < 6; i++) a[i] = va_arg(args, long);
    va_end(args);
    long result = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (result < 0) {
        fprintf(stderr, "system call %ld (way %s): %s\n", nr, way, strerror(errno));
        exit(1);
    }
    return result;
}
#define CALL(nr, ...) must(nr, __VA_ARGS__, 0L, 0L, 0L, 0L, 0L, 0L)
#define P(...) ((long)at(__VA_ARGS__))

static void close_fd(long fd) {
    CALL(SYS_close, fd);
}

/* dirfd forms take base, the others have none: with WAY dirfd only the former are done. */
static int plain(void) {
    return !is("dirfd");
}

static long make(const char *name, int i) {
    long fd = CALL(SYS_openat, (long)base, P("%s%d", name, i), (long)(O_CREAT | O_RDWR), 0644L);
    expect("create", full("%s%d", name, i), "-", fd);
    return fd;
}

static void opens(int i) {
    long fd = make("o", i);
    close_fd(fd);
    struct open_how how = {.flags = O_RDONLY};
    if (plain()) {
        fd = CALL(SYS_open, P("o%d", i), (long)O_RDONLY, 0L);
        expect("open", full("o%d", i), "-", fd);
        close_fd(fd);
        fd = CALL(SYS_creat, P("o%d", i), 0600L);
        expect("open", full("o%d", i), "-", fd);
        close_fd(fd);
        fd = CALL(SYS_creat, P("c%d", i), 0600L);
        expect("create", full("c%d", i), "-", fd);
        close_fd(fd);
    }
    fd = CALL(SYS_openat, (long)base, P("o%d", i), (long)O_RDWR, 0L);
    expect("open", full("o%d", i), "-", fd);
    close_fd(fd);
    fd = CALL(SYS_openat2, (long)base, P("o%d", i), (long)&how, sizeof how);
    expect("open", full("o%d", i), "-", fd);
    close_fd(fd);
    how = (struct open_how){.flags = O_CREAT | O_WRONLY, .mode = 0600};
    fd = CALL(SYS_openat2, (long)base, P("h%d", i), (long)&how, sizeof how);
    expect("create", full("h%d", i), "-", fd);
    close_fd(fd);
    /* O_PATH reaches no file, a failed look-up neither: no event. */
    close_fd(CALL(SYS_openat, (long)base, P("o%d", i), (long)O_PATH, 0L));
    syscall(SYS_openat, base, at("nothing%d", i), O_RDONLY, 0);
}

static void reads_and_writes(int i) {
    char text[64] = "the quick brown fox";
    struct iovec two[2] = {{text, 3}, {text + 3, 4}};
    char *path = full("rw%d", i);
    long fd = make("rw", i);
    expect_bytes("write", path, CALL(SYS_write, fd, (long)text, 10L), 10);
    expect_bytes("write", path, CALL(SYS_pwrite64, fd, (long)text, 7L, 5L), 7);
    expect("write", path, "-", CALL(SYS_writev, fd, (long)two, 2L));
    expect("write", path, "-", CALL(SYS_pwritev, fd, (long)two, 2L, 1L, 0L));
    expect("write", path, "-", CALL(SYS_pwritev2, fd, (long)two, 2L, 2L, 0L, 0L));
    expect_bytes("write", path, CALL(SYS_write, fd, (long)text, 0L), 0);
    CALL(SYS_lseek, fd, 0L, (long)SEEK_SET);
    expect_bytes("read", path, CALL(SYS_read, fd, (long)text, 6L), 6);
    expect_bytes("read", path, CALL(SYS_pread64, fd, (long)text, 64L, 4L), 64);
    expect("read", path, "-", CALL(SYS_readv, fd, (long)two, 2L));
    expect("read", path, "-", CALL(SYS_preadv, fd, (long)two, 2L, 1L, 0L));
    expect("read", path, "-", CALL(SYS_preadv2, fd, (long)two, 2L, 1L, 0L, 0L));
    long end = CALL(SYS_lseek, fd, 0L, (long)SEEK_END);
    (void)end;
    expect_bytes("read", path, CALL(SYS_read, fd, (long)text, 5L), 5); /* 0 bytes: the end */
    long copy = make("copy", i);
    char *copied = full("copy%d", i);
    CALL(SYS_lseek, fd, 0L, (long)SEEK_SET);
    long n = CALL(SYS_sendfile, copy, fd, 0L, 8L);
    expect_bytes("read", path, n, 8);
    expect_bytes("write", copied, n, 8);
    n = CALL(SYS_copy_file_range, fd, 0L, copy, 0L, 3L, 0L);
    expect_bytes("read", path, n, 3);
    expect_bytes("write", copied, n, 3);
    int pipes[2];
    if (pipe(pipes)) abort();
    loff_t from = 0;
    n = CALL(SYS_splice, fd, (long)&from, (long)pipes[1], 0L, 9L, 0L);
    expect_bytes("read", path, n, 9); /* the pipe is no file */
    n = CALL(SYS_splice, (long)pipes[0], 0L, copy, 0L, 9L, 0L);
    expect_bytes("write", copied, n, 9);
    close(pipes[0]);
    close(pipes[1]);
    /* Nothing is read through a descriptor that is not open: EBADF reaches no file. */
    syscall(SYS_read, 999, text, 1);
    close_fd(copy);
    close_fd(fd);
}

static void sizes(int i) {
    long fd = make("t", i);
    char *path = full("t%d", i);
    if (plain()) {
        CALL(SYS_truncate, P("t%d", i), 100L + i);
        expect_bytes("truncate", path, 0, 100 + i);
    }
    CALL(SYS_ftruncate, fd, 50L);
    expect_bytes("truncate", path, 0, 50);
    CALL(SYS_fallocate, fd, 0L, 0L, 8192L);
    expect_bytes("fallocate", path, 0, 8192);
    long map = CALL(SYS_mmap, 0L, 4096L, (long)(PROT_READ | PROT_WRITE), (long)MAP_SHARED, fd, 0L);
    expect_bytes("mmap", path, 0, 4096);
    munmap((void *)map, 4096);
    void *memory = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* no file: no event */
    munmap(memory, 4096);
    close_fd(fd);
}

static void removals(int i) {
    close_fd(make("u", i));
    close_fd(make("v", i));
    if (plain()) {
        CALL(SYS_unlink, P("u%d", i));
        expect("unlink", full("u%d", i), "-", 0);
    }
    CALL(SYS_unlinkat, (long)base, P("v%d", i), 0L);
    expect("unlink", full("v%d", i), "-", 0);
    syscall(SYS_unlinkat, base, at("v%d", i), 0); /* ENOENT */
    if (plain()) {
        CALL(SYS_mkdir, P("m%d", i), 0750L);
        expect("mkdir", full("m%d", i), "-", 0);
        CALL(SYS_rmdir, P("m%d", i));
        expect("rmdir", full("m%d", i), "-", 0);
    }
    CALL(SYS_mkdirat, (long)base, P("n%d", i), 0750L);
    expect("mkdir", full("n%d", i), "-", 0);
    /* A directory in one of the same name: which of the two is removed shows in the path only. */
    CALL(SYS_mkdirat, (long)base, P("n%d/n%d", i, i), 0750L);
    expect("mkdir", full("n%d/n%d", i, i), "-", 0);
    CALL(SYS_unlinkat, (long)base, P("n%d/n%d", i, i), (long)AT_REMOVEDIR);
    expect("rmdir", full("n%d/n%d", i, i), "-", 0);
    CALL(SYS_unlinkat, (long)base, P("n%d/", i), (long)AT_REMOVEDIR);
    expect("rmdir", full("n%d", i), "-", 0);
    if (plain()) {
        CALL(SYS_mknod, P("p%d", i), (long)(S_IFIFO | 0600), 0L);
        expect("mknod", full("p%d", i), "-", 0);
    }
    CALL(SYS_mknodat, (long)base, P("q%d", i), (long)(S_IFIFO | 0600), 0L);
    expect("mknod", full("q%d", i), "-", 0);
    CALL(SYS_unlinkat, (long)base, P("q%d", i), 0L);
    expect("unlink", full("q%d", i), "-", 0);
}

static void renames(int i) {
    close_fd(make("r", i));
    close_fd(make("x", i));
    if (plain()) {
        CALL(SYS_rename, P("r%d", i), P("sub/r%d", i));
        expect("rename", full("r%d", i), full("sub/r%d", i), 0);
        CALL(SYS_rename, P("sub/r%d", i), P("r%d", i));
        expect("rename", full("sub/r%d", i), full("r%d", i), 0);
    }
    CALL(SYS_renameat, (long)base, P("r%d", i), (long)base, P("s%d", i));
    expect("rename", full("r%d", i), full("s%d", i), 0);
    CALL(SYS_renameat2, (long)base, P("s%d", i), (long)base, P("x%d", i), 0L); /* over another file */
    expect("rename", full("s%d", i), full("x%d", i), 0);
    close_fd(make("y", i));
    CALL(SYS_renameat2, (long)base, P("x%d", i), (long)base, P("y%d", i), 2L /* RENAME_EXCHANGE */);
    expect("exchange", full("x%d", i), full("y%d", i), 0);
    CALL(SYS_mkdirat, (long)base, P("rd%d", i), 0755L);
    expect("mkdir", full("rd%d", i), "-", 0);
    close_fd(make("w", i));
    CALL(SYS_renameat2, (long)base, P("w%d", i), (long)base, P("rd%d/w%d", i, i), 0L);
    expect("rename", full("w%d", i), full("rd%d/w%d", i, i), 0);
    CALL(SYS_renameat2, (long)base, P("rd%d", i), (long)base, P("sub/rd%d", i), 0L);
    expect("rename", full("rd%d", i), full("sub/rd%d", i), 0);
    /* What was below the directory has moved with it, in the cached verdicts too. */
    long fd = CALL(SYS_openat, (long)base, P("sub/rd%d/w%d", i, i), (long)O_RDONLY, 0L);
    expect("open", full("sub/rd%d/w%d", i, i), "-", fd);
    close_fd(fd);
    syscall(SYS_renameat2, base, at("nothing%d", i), base, at("x%d", i), 0); /* ENOENT */
}

static void links(int i) {
    close_fd(make("l", i));
    if (plain()) {
        CALL(SYS_link, P("l%d", i), P("sub/l%d", i));
        expect("link", full("l%d", i), full("sub/l%d", i), 0);
        CALL(SYS_symlink, (long)"some/where", P("sl%d", i));
        expect("symlink", full("sl%d", i), "some/where", 0);
    }
    CALL(SYS_linkat, (long)base, P("l%d", i), (long)base, P("k%d", i), 0L);
    expect("link", full("l%d", i), full("k%d", i), 0);
    CALL(SYS_symlinkat, (long)"some/where", (long)base, P("sk%d", i));
    expect("symlink", full("sk%d", i), "some/where", 0);
    CALL(SYS_fchmodat, (long)base, P("k%d", i), 0600L); /* through its second name */
    expect("chmod", full("k%d", i), "-", 0);
    CALL(SYS_unlinkat, (long)base, P("k%d", i), 0L);
    expect("unlink", full("k%d", i), "-", 0);
}

static void attributes(int i) {
    long fd = make("a", i);
    char *path = full("a%d", i);
    struct utimbuf old = {1, 2};
    struct timeval times[2] = {{3, 0}, {4, 0}};
    struct timespec fine[2] = {{5, 0}, {6, 0}};
    if (plain()) {
        CALL(SYS_chmod, P("a%d", i), 0640L);
        expect("chmod", path, "-", 0);
        CALL(SYS_chown, P("a%d", i), 1000L, 1000L);
        expect("chown", path, "-", 0);
        CALL(SYS_lchown, P("a%d", i), 0L, -1L);
        expect("chown", path, "-", 0);
        CALL(SYS_utime, P("a%d", i), (long)&old);
        expect("utimens", path, "-", 0);
        CALL(SYS_utimes, P("a%d", i), (long)times);
        expect("utimens", path, "-", 0);
        CALL(SYS_setxattr, P("a%d", i), (long)"trusted.one", (long)"1", 1L, 0L);
        expect("setxattr", path, "-", 0);
        CALL(SYS_lsetxattr, P("a%d", i), (long)"trusted.two", (long)"2", 1L, 0L);
        expect("setxattr", path, "-", 0);
        CALL(SYS_removexattr, P("a%d", i), (long)"trusted.one");
        expect("removexattr", path, "-", 0);
        CALL(SYS_lremovexattr, P("a%d", i), (long)"trusted.two");
        expect("removexattr", path, "-", 0);
    }
    CALL(SYS_fchmodat, (long)base, P("a%d", i), 0600L);
    expect("chmod", path, "-", 0);
    if (syscall(NR_fchmodat2, base, at("a%d", i), 0644, 0) == 0) expect("chmod", path, "-", 0);
    CALL(SYS_fchmod, fd, 0604L);
    expect("chmod", path, "-", 0);
    CALL(SYS_fchownat, (long)base, P("a%d", i), 1L, 1L, 0L);
    expect("chown", path, "-", 0);
    CALL(SYS_fchownat, fd, (long)"", 2L, 2L, (long)AT_EMPTY_PATH);
    expect("chown", path, "-", 0);
    CALL(SYS_fchown, fd, 0L, 0L);
    expect("chown", path, "-", 0);
    CALL(SYS_futimesat, (long)base, P("a%d", i), (long)times);
    expect("utimens", path, "-", 0);
    CALL(SYS_utimensat, (long)base, P("a%d", i), (long)fine, 0L);
    expect("utimens", path, "-", 0);
    CALL(SYS_utimensat, fd, 0L, (long)fine, 0L);
    expect("utimens", path, "-", 0);
    CALL(SYS_fsetxattr, fd, (long)"trusted.three", (long)"3", 1L, 0L);
    expect("setxattr", path, "-", 0);
    CALL(SYS_fremovexattr, fd, (long)"trusted.three");
    expect("removexattr", path, "-", 0);
    struct {
        unsigned long value;
        unsigned size, flags;
    } xattr = {(unsigned long)"4", 1, 0};
    if (syscall(NR_setxattrat, base, at("a%d", i), 0, "trusted.four", &xattr, sizeof xattr) == 0) {
        expect("setxattr", path, "-", 0);
        CALL(NR_removexattrat, (long)base, P("a%d", i), 0L, (long)"trusted.four");
        expect("removexattr", path, "-", 0);
    }
    close_fd(fd);
}

/* noop is a static program that the test has put into DIR. */
static void executions(int i) {
    (void)i;
    for (volatile int form = plain() ? 0 : 1; form < 2; form++) {
        char *path = at("noop"), *argv[] = {"noop", 0}, *envp[] = {0};
        pid_t pid = vfork();
        if (!pid) {
            if (form) syscall(SYS_execveat, base, path, argv, envp, 0);
            else syscall(SYS_execve, path, argv, envp);
            _exit(1);
        }
        int status;
        waitpid(pid, &status, 0);
        if (status) exit(1);
        expect_pid(pid, "exec", full("noop"), "-", 0, "-");
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    way = argv[1];
    dir = argv[2];
    expected = argv[3];
    count = atoi(argv[4]);
    out = open_memstream(&log_text, &log_len);
    if (is("relative") && chdir(dir)) return 1;
    if (is("dirfd")) {
        base = open(dir, O_PATH | O_DIRECTORY);
        if (base < 0) return 1;
    }
    if (is("absent")) {
        char name[] = "/tmp/fsmon-driver-XXXXXX"; /* O_TMPFILE is not to be had on every overlayfs */
        absent_fd = mkstemp(name);
        unlink(name);
        if (absent_fd < 0 || ftruncate(absent_fd, 65536L * 200 * count)) return 1;
    }
    void (*groups[])(int) = {opens, reads_and_writes, sizes,     removals, renames,
                             links, attributes,       executions};
    for (int i = 0; i < count; i++)
        for (size_t group = 0; group < sizeof groups / sizeof *groups; group++) groups[group](i);
    fclose(out);
    for (size_t done = 0; done < log_len;) {
        ssize_t n = write(1, log_text + done, log_len - done);
        if (n < 0) return 1;
        done += n;
    }
    return 0;
}
