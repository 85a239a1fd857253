/* Files opened, read, written, mapped, cloned. */

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

/* The end of a directory is another event than its entries. */
static void listings(int i) {
    char entries[4096];
    CALL(SYS_mkdirat, (long)base, P("ls%d", i), 0755L);
    expect("mkdir", full("ls%d", i), "-", 0);
    long fd = CALL(SYS_openat, (long)base, P("ls%d", i), (long)(O_RDONLY | O_DIRECTORY), 0L);
    expect("open", full("ls%d", i), "-", fd);
    expect("readdir", full("ls%d", i), "-", CALL(SYS_getdents64, fd, (long)entries, sizeof entries));
    expect("readdir", full("ls%d", i), "-", CALL(SYS_getdents64, fd, (long)entries, sizeof entries));
    CALL(SYS_lseek, fd, 0L, (long)SEEK_SET);
    expect("readdir", full("ls%d", i), "-", CALL(SYS_getdents, fd, (long)entries, sizeof entries));
    close_fd(fd);
}

/* A file opened by its handle; not every file system has them. */
static void handles(int i) {
    struct {
        struct file_handle head;
        char bytes[MAX_HANDLE_SZ];
    } handle = {.head.handle_bytes = MAX_HANDLE_SZ};
    int mount;
    long fd = make("fh", i);
    if (syscall(SYS_name_to_handle_at, fd, "", &handle, &mount, AT_EMPTY_PATH) == 0) {
        long again = CALL(SYS_open_by_handle_at, fd, (long)&handle, (long)O_RDONLY);
        expect("open", full("fh%d", i), "-", again);
        close_fd(again);
    }
    close_fd(fd);
}
