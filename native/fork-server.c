/*
 * fork-server: starts many processes of one program, and pays for loading it once.
 *
 * QEMU is linked against some sixty libraries. This library, preloaded into it, takes over when the dynamic linker has
 * mapped and relocated all of them and before the program's own code runs. It then waits for requests, and for each of
 * them forks a child that goes on into the program with arguments of its own. What the linker wrote is shared by all.
 *
 * It is a program's second self only where VM_SUBSTRATE_FORK_SERVER is in the environment; everywhere else it does
 * nothing. Descriptor 3 is then one end of a stream socket, and lib/host/fork-server-protocol.ts the other. The server
 * ends when the other end closes. Its children do not: they are leaders of sessions of their own. Zygotes do (zygote.c): a child
 * may be made one, and be ordered later to fork itself.
 *
 * It is compiled with musl's headers and loaded beside glibc, which gives it its functions. So it has nothing whose layout
 * the two see differently: no stat, no stdio, no siginfo; and what both take from the kernel, such as pollfd and dirent.
 */
#define _GNU_SOURCE
#include "zygote.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VARIABLE "VM_SUBSTRATE_FORK_SERVER"
#define TITLE "vm-substrate-fork-server"
#define PROTOCOL_VERSION 2
#define CONTROL 3 /* The first descriptor after stdin, stdout and stderr; in a child, that of its first file. */
#define STRINGS_CAP (64 * 1024)
#define ARGUMENTS_CAP 1024
#define FILES_CAP 16
#define NAMES_CAP (3 + FILES_CAP)
#define ZYGOTES_CAP 16
#define FIRST_CHANNEL 64 /* The server's ends of zygotes' channels, above all that a request opens. */
#define ORDER_TIMEOUT_MS 3000
#define LAST_SIGNAL 64
#define MALFORMED_STATUS 3 /* The exit status after a request that no owner of ours sends. */

enum request_kind { START = 1, SIGNAL = 2, ZYGOTE = 3, FORK = 4 };
struct request {
    uint32_t kind;
    uint32_t number;    /* The request's, for its answer. SIGNAL: the process's. */
    uint32_t files;     /* START, ZYGOTE: how many. SIGNAL: which signal. FORK: the zygote's process. */
    uint32_t arguments; /* Without the program's name, which is the server's own. */
    /*
     * Of the strings that follow, each with its NUL. START: log, files, arguments. ZYGOTE: log, directory, sockets' directory, files,
     * arguments. FORK: as struct fork_order.
     */
    uint32_t length;
};

enum answer_kind { READY = 1, STARTED = 2, ENDED = 3 };
struct answer {
    uint32_t kind;
    uint32_t number; /* READY: the protocol's version. STARTED: the request's, also of ZYGOTE and FORK. ENDED: the process's. */
    uint32_t value;  /* READY: room for arguments, in bytes. STARTED: the process, or 0. ENDED: its wait status. */
    uint32_t error;  /* STARTED: errno where there is no process. */
};

typedef int program(int, char **, char **);
typedef int start_main(program *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

static char strings[STRINGS_CAP];
static char *arguments[ARGUMENTS_CAP + 2];
/* Where /proc/PID/cmdline looks: behind the program's name on the stack, as long as the server's own arguments were. */
static char *room;
static size_t room_length, shown_length;
static struct zygote {
    pid_t pid;   /* 0: this place is free. */
    int is_lost; /* It has not answered in time, and is being killed. What it says after that is of no order. */
} zygotes[ZYGOTES_CAP]; /* The channel of each is FIRST_CHANNEL and its place. */
static sigset_t usual_signals;

static void receive(void *target, size_t length) {
    char *next = target;
    while (length > 0) {
        ssize_t got = recv(CONTROL, next, length, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) _exit(0); /* The owner is gone. */
        next += got;
        length -= (size_t)got;
    }
}

static void answer(uint32_t kind, uint32_t number, uint32_t value, uint32_t error) {
    struct answer record = {kind, number, value, error};
    const char *next = (const char *)&record;
    for (size_t left = sizeof record; left > 0;) {
        ssize_t sent = send(CONTROL, next, left, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) _exit(0);
        next += sent;
        left -= (size_t)sent;
    }
}

static void malformed(void) { _exit(MALFORMED_STATUS); }

/* Its only use is to interrupt ppoll: the signal's default is to be ignored. */
static void child_ended(int signal) { (void)signal; }

static int place_of(pid_t zygote) {
    for (int i = 0; i < ZYGOTES_CAP; i++)
        if (zygotes[i].pid == zygote) return i;
    return -1;
}

static void reap(void) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        int place = place_of(pid);
        if (place >= 0) {
            zygotes[place] = (struct zygote){0, 0};
            close(FIRST_CHANNEL + place);
        }
        answer(ENDED, (uint32_t)pid, (uint32_t)status, 0);
    }
}

/* A child that was not reaped keeps its PID, and nobody else reaps it: the signal cannot hit another process. */
static void send_signal(const struct request *request) {
    pid_t pid = (pid_t)request->number;
    if (pid <= 1 || request->files == 0 || request->files > LAST_SIGNAL || request->length > 0) malformed();
    if (waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOHANG | WNOWAIT) == 0) kill(pid, (int)request->files);
}

/* What /proc/PID/cmdline shows behind the program's name. The rest of the room is zeros. */
static void show_arguments(const char *text, size_t length) {
    memset(room, 0, shown_length);
    memcpy(room, text, length);
    shown_length = length;
}

/* Splits what is in `strings` into names, and arguments, of which the place is returned. */
static char *split(const struct request *request, char **names, uint32_t count) {
    char *next = strings, *end = strings + request->length, *text = NULL;
    if (request->length == 0 || end[-1] != 0) malformed();
    for (uint32_t i = 0; i < count + request->arguments; i++) {
        if (next == end) malformed();
        if (i < count) names[i] = next;
        next += strlen(next) + 1;
        if (i + 1 == count) text = next;
    }
    if (next != end) malformed();
    return text;
}

/* Everything that the child needs, opened by the server, so that what is missing is an answer and not a dead child. */
struct opened {
    int log, files[FILES_CAP], gate[2], last;
};

static int remember(struct opened *opened, int fd) {
    if (fd > opened->last) opened->last = fd;
    return fd;
}

static int open_all(struct opened *opened, const char *log, char **files, uint32_t count) {
    opened->log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600);
    if (remember(opened, opened->log) < 0) return -1;
    for (uint32_t i = 0; i < count; i++) {
        opened->files[i] = open(files[i], O_RDONLY | O_NOCTTY | O_CLOEXEC);
        if (remember(opened, opened->files[i]) < 0) return -1;
    }
    if (pipe2(opened->gate, O_CLOEXEC) < 0) return -1;
    remember(opened, opened->gate[0]);
    remember(opened, opened->gate[1]);
    return 0;
}

/* Between requests the server has nothing above CONTROL. */
static void close_above(int fd, int last) {
    while (++fd <= last) close(fd);
}

/*
 * The child runs only when its PID has been told. A server that dies in between never wrote to the gate, and a gate that
 * closes ends the child: no process runs of which the owner does not know.
 */
static void await_gate(const struct opened *opened) {
    char told;
    ssize_t got;
    close(opened->gate[1]);
    do got = read(opened->gate[0], &told, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1) _exit(0);
}

static void become_child(const struct opened *opened, uint32_t files) {
    await_gate(opened);
    setsid();
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &usual_signals, NULL);
    for (int i = 0; i < ZYGOTES_CAP; i++)
        if (zygotes[i].pid) close(FIRST_CHANNEL + i);
    dup2(opened->log, STDOUT_FILENO);
    dup2(opened->log, STDERR_FILENO);
    /* Upwards, and each to a lower place than it has: none is written over before its turn. */
    for (uint32_t i = 0; i < files; i++) dup2(opened->files[i], CONTROL + (int)i);
    close_above(CONTROL + (int)files - 1, opened->last);
}

/* A pair, of which ours is at its place and the child's at FIRST_CHANNEL + ZYGOTES_CAP until the fork is over. Returns the place, or -1 with errno. */
static int open_channel(void) {
    int pair[2], place = place_of(0);
    if (place < 0) {
        errno = EAGAIN;
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return -1;
    int is_moved = dup3(pair[0], FIRST_CHANNEL + place, O_CLOEXEC) >= 0 &&
                   dup3(pair[1], FIRST_CHANNEL + ZYGOTES_CAP, O_CLOEXEC) >= 0;
    int error = errno;
    close(pair[0]);
    close(pair[1]);
    errno = error;
    return is_moved ? place : -1;
}

static void begin_zygote(int place, pid_t server, char **names) {
    struct place own = {names[1], names[2]};
    close(FIRST_CHANNEL + place);
    if (zygote_begin(FIRST_CHANNEL + ZYGOTES_CAP, &own, show_arguments) < 0) _exit(1);
    if (getppid() != server) _exit(0); /* It ended before it was asked to take its zygotes with it. */
}

/* Returns the number of arguments in the child, and 0 in the server. */
static int start(const struct request *request) {
    char *names[NAMES_CAP];
    int is_zygote = request->kind == ZYGOTE;
    uint32_t others = is_zygote ? 3 : 1;
    char *text = split(request, names, others + request->files);
    size_t length = (size_t)(strings + request->length - text);

    struct opened opened = {.last = CONTROL};
    pid_t pid = -1, server = getpid();
    int place = -1;
    if (length > room_length) errno = E2BIG;
    else if (!is_zygote || (place = open_channel()) >= 0)
        if (open_all(&opened, names[0], names + others, request->files) == 0) pid = fork();
    if (pid != 0) {
        int error = errno;
        if (is_zygote && place >= 0) {
            close(FIRST_CHANNEL + ZYGOTES_CAP);
            if (pid < 0) close(FIRST_CHANNEL + place);
            else zygotes[place].pid = pid;
        }
        answer(STARTED, request->number, pid < 0 ? 0 : (uint32_t)pid, pid < 0 ? (uint32_t)error : 0);
        if (pid > 0 && write(opened.gate[1], "", 1) != 1) _exit(1);
        close_above(CONTROL, opened.last);
        return 0;
    }
    become_child(&opened, request->files);
    if (is_zygote) begin_zygote(place, server, names);
    show_arguments(text, length);
    for (uint32_t i = 1; i <= request->arguments; i++, text += strlen(text) + 1) arguments[i] = text;
    return 1 + (int)request->arguments;
}

/* What the zygote answers; a stuck one is ended, and nobody knows what it has made: that ends with its gate. */
static struct fork_result order(int place, uint32_t length) {
    struct fork_result result = {0, EIO};
    struct pollfd channel = {FIRST_CHANNEL + place, POLLIN, 0};
    const struct timespec patience = {ORDER_TIMEOUT_MS / 1000, 0};
    int polled;
    if (send(channel.fd, strings, length, MSG_NOSIGNAL) != (ssize_t)length) return result;
    if (syscall(SYS_tgkill, zygotes[place].pid, zygotes[place].pid, FORK_SIGNAL) < 0) return result;
    do polled = ppoll(&channel, 1, &patience, NULL);
    while (polled < 0 && errno == EINTR);
    if (polled == 1 && recv(channel.fd, &result, sizeof result, 0) == sizeof result) return result;
    zygotes[place].is_lost = 1;
    kill(zygotes[place].pid, SIGKILL);
    return (struct fork_result){0, EIO};
}

static void fork_zygote(const struct request *request) {
    char *names[FORK_NAMES];
    size_t length = (size_t)(strings + request->length - split(request, names, FORK_NAMES));
    int place = request->files == 0 ? -1 : place_of((pid_t)request->files);
    if (place >= 0 && zygotes[place].is_lost) place = -1;
    struct fork_result result = {0, place < 0 ? ESRCH : E2BIG};
    if (place >= 0 && length <= room_length) result = order(place, request->length);
    /* The child of which the order failed ends by itself, and its end is told of a process that nobody knows. */
    answer(STARTED, request->number, result.error == 0 ? (uint32_t)result.pid : 0, (uint32_t)result.error);
    if (result.pid > 0) send(FIRST_CHANNEL + place, "", 1, MSG_NOSIGNAL);
}

/* Returns in children only. */
static int serve(void) {
    struct pollfd control = {CONTROL, POLLIN, 0};
    for (;;) {
        reap();
        if (ppoll(&control, 1, NULL, &usual_signals) < 0) continue; /* interrupted: a child has ended */
        struct request request;
        receive(&request, sizeof request);
        if (request.length > sizeof strings || request.arguments > ARGUMENTS_CAP) malformed();
        if (request.kind != SIGNAL && request.kind != FORK && request.files > FILES_CAP) malformed();
        receive(strings, request.length);
        if (request.kind == SIGNAL) {
            send_signal(&request);
        } else if (request.kind == START || request.kind == ZYGOTE) {
            int count = start(&request);
            if (count > 0) return count;
        } else if (request.kind == FORK) {
            fork_zygote(&request);
        } else {
            malformed();
        }
    }
}

/* The kernel lays the arguments out one behind the other. All are given up for room, but for the program's name. */
static void make_room(int argc, char **argv) {
    char *end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
    room = argv[0] + strlen(argv[0]) + 1;
    room_length = (size_t)(end - room);
    memset(room, 0, room_length);
    if (room_length < sizeof TITLE) malformed();
    show_arguments(TITLE, sizeof TITLE);
    arguments[0] = argv[0];
}

/*
 * Closes what our owner's own parent has let through to us. Only what does not close on exec can have come that way; the
 * rest a library has opened, and may need.
 */
static void close_strays(void) {
    DIR *open_files = opendir("/proc/self/fd");
    if (!open_files) return;
    for (struct dirent *entry; (entry = readdir(open_files));) {
        int fd = atoi(entry->d_name);
        if (fd > CONTROL && (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) close(fd);
    }
    closedir(open_files);
}

static int fork_server(int argc, char **argv) {
    sigset_t child;
    /* What children have in their environment is what they would have without a server. */
    unsetenv(VARIABLE);
    unsetenv("LD_PRELOAD");
    close_strays();
    make_room(argc, argv);
    /*
     * Inherited by children. QEMU asks for huge pages for its translated code and more, of which a clone uses a few
     * kilobytes here and there: each of them would cost 2 MiB. Guest memory loses nothing, as it is a file's.
     */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &usual_signals);
    signal(SIGCHLD, child_ended);
    answer(READY, PROTOCOL_VERSION, (uint32_t)room_length, 0);
    return serve();
}

/* Called by a program's first instructions, when every library was initialised. */
__attribute__((visibility("default"))) int __libc_start_main(program *main, int argc, char **argv, void (*init)(void),
                                                             void (*fini)(void), void (*linker_fini)(void), void *stack) {
    start_main *real = (start_main *)dlsym(RTLD_NEXT, "__libc_start_main");
    if (!real) abort();
    /* Other C libraries look for the environment behind the arguments, where a child's are not. */
    int is_glibc = dlsym(RTLD_DEFAULT, "gnu_get_libc_version") != NULL;
    if (getenv(VARIABLE) && is_glibc && argc > 1) {
        argc = fork_server(argc, argv);
        argv = arguments;
    }
    return real(main, argc, argv, init, fini, linker_fini, stack);
}
