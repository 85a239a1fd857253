/* Names made, moved, removed, executed. */

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

/* An address holds 108 bytes, so sockets are bound by a relative path. */
static void sockets(int i) {
    struct sockaddr_un address = {.sun_family = AF_UNIX}, abstract = address;
    if (!is("relative")) return;
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s", at("so%d", i));
    long one = CALL(SYS_socket, (long)AF_UNIX, (long)SOCK_STREAM, 0L);
    CALL(SYS_bind, one, (long)&address, (long)(offsetof(struct sockaddr_un, sun_path) + n));
    expect("bind", full("so%d", i), "-", 0);
    snprintf(abstract.sun_path + 1, 100, "fsmon-%d-%d", getpid(), i); /* no file */
    long other = CALL(SYS_socket, (long)AF_UNIX, (long)SOCK_STREAM, 0L);
    CALL(SYS_bind, other, (long)&abstract, (long)sizeof abstract);
    close_fd(one);
    close_fd(other);
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
