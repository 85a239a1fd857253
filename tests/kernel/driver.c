/* Does COUNT of each file operation through one way of naming files, and writes what a capture must show of it.
 *
 *   driver WAY DIR EXPECTED COUNT [UID EUID GID EGID]
 *
 * DIR is where the files are, EXPECTED how a capture must name it. WAY is how the calls name it: absolute,
 * relative, dirfd, symlink, dotdot, absent (each path string stands alone in a page that was never touched).
 * With ids it does so as them, and with all that root may do.
 * Output, a line an event: pid, operation, path, target path or "-", result, bytes asked for or "-".
 * Raw system calls only: libc would choose other ones. Static, so that nothing else opens files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/securebits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include "driver/ways.h"
#include "driver/contents.h"
#include "driver/names.h"
#include "driver/attributes.h"

static int become(char **ids) {
    uid_t uid = atoi(ids[0]), euid = atoi(ids[1]);
    gid_t gid = atoi(ids[2]), egid = atoi(ids[3]);
    return prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) || setresgid(gid, egid, egid) ||
           setresuid(uid, euid, euid);
}

int main(int argc, char **argv) {
    if (argc != 5 && argc != 9) return 2;
    if (argc == 9 && become(argv + 5)) return 1;
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
    void (*groups[])(int) = {opens,   reads_and_writes, sizes, removals, renames, links,
                             sockets, attributes,       flags, listings, handles, executions};
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
