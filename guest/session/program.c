/* One program of a session: started in a session of its own, with pipes or with a terminal. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include "session.h"

#define DEFAULT_END_CHARACTER 4

static void close_pair(int pair[2]) {
    if (pair[0] >= 0) close(pair[0]);
    if (pair[1] >= 0) close(pair[1]);
}

static int open_terminal(const struct start *start, int *terminal, char *name, size_t name_size) {
    *terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (*terminal < 0) return errno;
    if (grantpt(*terminal) < 0 || unlockpt(*terminal) < 0) return errno;
    int error = ptsname_r(*terminal, name, name_size);
    if (error != 0) return error;
    struct winsize size = {.ws_col = start->columns, .ws_row = start->rows};
    return ioctl(*terminal, TIOCSWINSZ, &size) < 0 ? errno : 0;
}

static void give_up(int report, enum failed_step step) {
    unsigned char word[2] = {step, (unsigned char)errno};
    ssize_t written = write(report, word, sizeof word);
    _exit(written == sizeof word ? 127 : 126);
}

static void become(const struct start *start, const char *terminal, int pipes[3][2], int report) {
    setsid();
    int fds[3] = {pipes[0][0], pipes[1][1], pipes[2][1]};
    if (start->is_tty) {
        int tty = open(terminal, O_RDWR | O_CLOEXEC);
        if (tty < 0 || ioctl(tty, TIOCSCTTY, 0) < 0) give_up(report, FAILED_RESOURCES);
        fds[0] = fds[1] = fds[2] = tty;
    }
    /* 0, 1 and 2 are open in whoever started us: none of `fds` is one of them. */
    for (int i = 0; i < 3; i++)
        if (dup2(fds[i], i) < 0) give_up(report, FAILED_RESOURCES);
    for (int i = 1; i < NSIG; i++) signal(i, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir(start->folder) < 0) give_up(report, FAILED_FOLDER);
    environ = start->env;
    execvp(start->argv[0], start->argv); /* by the PATH of its own environment */
    give_up(report, FAILED_PROGRAM);
}

int program_start(struct program *program, const struct start *start) {
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}}, report[2] = {-1, -1};
    int terminal = -1, writing = -1, error = 0;
    char name[64] = "";
    if (start->is_tty) {
        error = open_terminal(start, &terminal, name, sizeof name);
        if (error == 0 && (writing = fcntl(terminal, F_DUPFD_CLOEXEC, 3)) < 0) error = errno;
    }
    for (int i = 0; i < 3 && error == 0 && !start->is_tty; i++)
        if (pipe2(pipes[i], O_CLOEXEC) < 0) error = errno;
    if (error == 0 && pipe2(report, O_CLOEXEC) < 0) error = errno;
    pid_t pid = error == 0 ? fork() : -1;
    if (pid == 0) become(start, name, pipes, report[1]);
    if (error == 0 && pid < 0) error = errno;
    if (report[1] >= 0) close(report[1]);
    if (error != 0) {
        for (int i = 0; i < 3; i++) close_pair(pipes[i]);
        if (report[0] >= 0) close(report[0]);
        if (terminal >= 0) close(terminal);
        if (writing >= 0) close(writing);
        return error;
    }
    *program = (struct program){.pid = pid, .is_tty = start->is_tty, .report = report[0]};
    if (start->is_tty) {
        program->input = writing;
        program->output[0] = terminal;
        program->output[1] = -1;
    } else {
        close(pipes[0][0]);
        close(pipes[1][1]);
        close(pipes[2][1]);
        program->input = pipes[0][1];
        program->output[0] = pipes[1][0];
        program->output[1] = pipes[2][0];
        int ours[3] = {pipes[0][1], pipes[1][0], pipes[2][0]};
        for (int i = 0; i < 3; i++) fcntl(ours[i], F_SETFL, O_NONBLOCK);
    }
    fcntl(program->report, F_SETFL, O_NONBLOCK);
    return 0;
}

void program_resize(const struct program *program, unsigned short columns, unsigned short rows) {
    struct winsize size = {.ws_col = columns, .ws_row = rows};
    if (program->is_tty && program->output[0] >= 0) ioctl(program->output[0], TIOCSWINSZ, &size);
}

void program_signal(const struct program *program, int signal) {
    pid_t group = program->pid;
    if (program->is_tty && program->output[0] >= 0) {
        pid_t foreground = tcgetpgrp(program->output[0]);
        if (foreground > 1) group = foreground;
    }
    kill(-group, signal);
}

/* The session that a process is of, from /proc/PID/stat: the fourth number behind the name's last bracket. */
static pid_t session_of(const char *pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) return -1;
    text[n] = 0;
    char *behind = strrchr(text, ')');
    int parent, group, session;
    char state;
    if (behind == NULL || sscanf(behind + 1, " %c %d %d %d", &state, &parent, &group, &session) != 4) return -1;
    return state == 'Z' ? -1 : session;
}

int program_signal_all(const struct program *program, int signal) {
    int count = 0;
    DIR *processes = opendir("/proc");
    if (processes == NULL) {
        kill(-program->pid, signal);
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        pid_t pid = atoi(entry->d_name);
        if (pid <= 1 || session_of(entry->d_name) != program->pid) continue;
        if (pid != program->pid) count++;
        if (signal != 0) kill(pid, signal);
    }
    closedir(processes);
    return count;
}

unsigned char program_end_character(const struct program *program) {
    struct termios settings;
    if (program->input < 0 || tcgetattr(program->input, &settings) < 0) return DEFAULT_END_CHARACTER;
    return settings.c_cc[VEOF];
}
