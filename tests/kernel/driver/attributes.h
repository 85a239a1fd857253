/* What is said of files: owners, modes, times, attributes, flags. */

#define NR_fchmodat2 452
#define NR_setxattrat 463
#define NR_removexattrat 466
#define NR_file_setattr 469

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

/* The inode's own flags; not every file system has them. */
static void flags(int i) {
    long fd = make("fl", i);
    int bits = 0;
    struct fsxattr extended = {0};
    if (ioctl(fd, FS_IOC_GETFLAGS, &bits) == 0) {
        CALL(SYS_ioctl, fd, (long)FS_IOC_SETFLAGS, (long)&bits);
        expect("setflags", full("fl%d", i), "-", 0);
    }
    if (ioctl(fd, FS_IOC_FSGETXATTR, &extended) == 0) {
        CALL(SYS_ioctl, fd, (long)FS_IOC_FSSETXATTR, (long)&extended);
        expect("setflags", full("fl%d", i), "-", 0);
    }
    close_fd(fd);
}
