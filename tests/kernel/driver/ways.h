/* How a driver names its files, and what it says must be captured. */

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
