/* A splice from an empty pipe to DIR/file that a signal interrupts.
 *
 *   interrupted restart|eintr|stop|kill|core DIR
 *
 * restart: its handler wants the call done again, which then moves 5 bytes; stop: stopped and continued; kill, core:
 * the signal ends the process. Static, and with raw calls, so that nothing else is done to files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int pipes[2];

static void handle(int signal) {
    (void)signal;
    char byte;
    /* Calls of the handler come between the interrupted call and what becomes of it. */
    if (read(-1, &byte, 1) < 0) errno = 0;
}

static int act(const char *way, int file) {
    struct sigaction action = {.sa_handler = handle};
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (!strcmp(way, "restart")) action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, 0);
    signal(SIGQUIT, SIG_DFL); /* a shell's background jobs begin with it ignored */
    long n = syscall(SYS_splice, pipes[0], 0, file, 0, 5, 0);
    if (!strcmp(way, "eintr")) return !(n == -1 && errno == EINTR);
    return n != 5;
}

/* Until it waits in its call, however busy the machine is: proc(5), /proc/pid/stat, state S. */
static void until_asleep(pid_t pid) {
    char name[64], text[512];
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    for (int i = 0; i < 3000; i++, usleep(10000)) {
        int stat = open(name, O_RDONLY);
        long n = read(stat, text, sizeof text - 1);
        close(stat);
        if (n <= 0) return;
        text[n] = 0;
        char *end = strrchr(text, ')');
        if (end && end[2] == 'S') return;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const char *way = argv[1];
    char path[512];
    snprintf(path, sizeof path, "%s/file", argv[2]);
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    if (file < 0 || pipe(pipes)) return 1;
    pid_t child = fork();
    if (!child) _exit(act(way, file));
    until_asleep(child);
    int first = !strcmp(way, "kill") ? SIGKILL : !strcmp(way, "core") ? SIGQUIT : SIGUSR1;
    if (!strcmp(way, "stop")) first = SIGSTOP;
    kill(child, first);
    usleep(200000);
    if (first == SIGSTOP) kill(child, SIGCONT), usleep(100000);
    int restarted = !strcmp(way, "restart") || !strcmp(way, "stop"), status;
    if (restarted && write(pipes[1], "hello", 5) != 5) return 1;
    waitpid(child, &status, 0);
    printf("%d\n", child);
    if (first == SIGKILL || first == SIGQUIT) return !(WIFSIGNALED(status) && WTERMSIG(status) == first);
    return status != 0;
}
