/*
 * zygote: a QEMU that has loaded a substrate, run it, and been paused, and of which clones are forked.
 *
 * A clone that loads a substrate of its own has all of the guest's code to translate that it runs, and all of its pages to copy
 * that it writes. A fork has what its zygote had translated and written, and shares it. "Zygote" is what Android and Chrome call a process
 * that was started to be forked; for virtual machines see Catalyzer's sfork (Du et al., ASPLOS 2020).
 *
 * Random numbers: GnuTLS, by which QEMU answers RDRAND and RDSEED, keeps a generator for each thread, and hears of a fork by
 * pthread_atfork only. All forks would go on with one stream. So a zygote and its forks ask the kernel instead.
 *
 * QEMU knows nothing of it. An order comes as a signal to its first thread, which forks with all threads (threads.c); the child
 * takes its own descriptors (relocate.c), name and place, and returns from the signal.
 *
 * QEMU's sandbox forbids to fork, and to undo that. So a zygote, which runs a guest that nobody has claimed and that is
 * plugged into nothing, has none: the filter is kept when QEMU loads it, and put on each child before that runs.
 */
#define _GNU_SOURCE
#include "zygote.h"

#include "threads.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ORDER_CAP (64 * 1024)
#define FILTER_CAP 4096 /* BPF_MAXINSNS */
#define UUID_BYTES 16

/* Source: linux/filter.h and seccomp(2); musl has no header for them. */
struct instruction {
    uint16_t code;
    uint8_t jump_true, jump_false;
    uint32_t k;
};
struct filter {
    unsigned short length;
    struct instruction *instructions;
};
#define SECCOMP_SET_MODE_FILTER 1

static int is_zygote, is_of_zygote, channel;
static struct place own_place;
static void (*show_text)(const char *, size_t);
static char order_strings[ORDER_CAP], name[256];
static struct instruction instructions[FILTER_CAP];
static struct filter filter = {0, instructions};

/* QEMU loads its filter by this function of libseccomp. */
__attribute__((visibility("default"))) int seccomp_load(void *context) {
    typedef int load(void *);
    typedef int export(void *, int);
    load *real = (load *)dlsym(RTLD_NEXT, "seccomp_load");
    if (!real) return -ENOSYS;
    if (!is_zygote) return real(context);
    export *exported = (export *)dlsym(RTLD_NEXT, "seccomp_export_bpf");
    int file = memfd_create("seccomp", MFD_CLOEXEC);
    if (!exported || file < 0 || exported(context, file) < 0) return -ENOSYS;
    ssize_t length = pread(file, instructions, sizeof instructions, 0);
    int is_whole = length > 0 && (size_t)length < sizeof instructions;
    close(file);
    if (!is_whole) return -ENOSYS;
    filter.length = (unsigned short)((size_t)length / sizeof *instructions);
    return 0;
}

__attribute__((visibility("default"))) int gnutls_rnd(int level, void *data, size_t length) {
    typedef int generate(int, void *, size_t);
    static generate *real;
    if (!is_of_zygote) {
        if (!real) real = (generate *)dlsym(RTLD_NEXT, "gnutls_rnd");
        return real ? real(level, data, length) : -1;
    }
    for (char *next = data; length > 0;) {
        long got = syscall(SYS_getrandom, next, length, 0);
        if (got < 0 && errno != EINTR) abort();
        if (got < 0) continue;
        next += got;
        length -= (size_t)got;
    }
    return 0;
}

/* QEMU keeps guest memory from forked children, of which it knows none that need it. */
__attribute__((visibility("default"))) int madvise(void *start, size_t length, int advice) {
    if (is_zygote && advice == MADV_DONTFORK) return 0;
    return (int)syscall(SYS_madvise, start, length, advice);
}

/* QEMU's own variables, which it shows by query-name and query-uuid, and exports to its modules. */
static const char **qemu_name;
static unsigned char *qemu_uuid;
static int (*parse_uuid)(const char *, void *);

/* Not in the child: the dynamic linker's lock may be held by a thread that stands still. */
static int find_variables(void) {
    qemu_name = (const char **)dlsym(RTLD_DEFAULT, "qemu_name");
    qemu_uuid = dlsym(RTLD_DEFAULT, "qemu_uuid");
    parse_uuid = (int (*)(const char *, void *))dlsym(RTLD_DEFAULT, "qemu_uuid_parse");
    if (qemu_name && qemu_uuid && parse_uuid) return 0;
    errno = ENOTSUP;
    return -1;
}

static int rename_qemu(const struct fork_order *order) {
    unsigned char uuid[UUID_BYTES];
    if (strlen(order->name) >= sizeof name || parse_uuid(order->uuid, uuid) != 0) {
        errno = EINVAL;
        return -1;
    }
    strcpy(name, order->name);
    *qemu_name = name;
    memcpy(qemu_uuid, uuid, sizeof uuid);
    return 0;
}

static int take_log(const char *file) {
    int log = open(file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600);
    if (log < 0) return -1;
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    return close(log);
}

static int enter_sandbox(void) {
    if (filter.length == 0) return 0; /* QEMU was started without one. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}

/* Returns errno. */
static int become_clone(const struct fork_order *order) {
    is_zygote = 0;
    if (setsid() < 0 || chdir(order->place.dir) < 0 || take_log(order->log) < 0) return errno;
    if (relocate(&own_place, &order->place) < 0 || rename_qemu(order) < 0) return errno;
    show_text(order->text, order->text_length);
    return 0;
}

static ssize_t read_fully(int fd, void *target, size_t length) {
    ssize_t got;
    do got = read(fd, target, length);
    while (got < 0 && errno == EINTR);
    return got;
}

/*
 * As a fork server's own children, it runs only when its PID has been told: until the gate has a byte. A gate that closes ends it.
 */
static void run_clone(const struct fork_order *order, int report, int gate) {
    char told;
    int error = become_clone(order);
    if (write(report, &error, sizeof error) != sizeof error || error != 0) _exit(1);
    close(report);
    if (read_fully(gate, &told, 1) != 1) _exit(0);
    close(gate);
    if (enter_sandbox() < 0) _exit(1);
    threads_resume();
}

/* Returns 1 in the child. */
static int follow(const struct fork_order *order) {
    struct fork_result result = {0, 0};
    int report[2], gate[2];
    if (pipe2(report, O_CLOEXEC) < 0) {
        result.error = errno;
    } else if (pipe2(gate, O_CLOEXEC) < 0) {
        result.error = errno;
        close(report[0]);
        close(report[1]);
    } else {
        int pid = threads_fork();
        if (pid == 0) {
            close(channel);
            close(report[0]);
            close(gate[1]);
            run_clone(order, report[1], gate[0]);
            return 1;
        }
        result.error = pid < 0 ? errno : 0;
        result.pid = pid < 0 ? 0 : pid;
        close(report[1]);
        if (pid > 0 && read_fully(report[0], &result.error, sizeof result.error) != sizeof result.error) result.error = EIO;
        close(report[0]);
        char told = 0;
        if (send(channel, &result, sizeof result, MSG_NOSIGNAL) < 0) _exit(0);
        /* The server says so for a process that there is. That may have ended meanwhile: then nobody reads the gate. */
        if (pid > 0 && recv(channel, &told, 1, 0) != 1) _exit(0);
        if (pid > 0 && result.error == 0 && write(gate[1], &told, 1) != 1) result.error = errno;
        close(gate[0]);
        close(gate[1]);
        return 0;
    }
    if (send(channel, &result, sizeof result, MSG_NOSIGNAL) < 0) _exit(0);
    return 0;
}

/* Whether there is an order in `order_strings`, and it is whole. */
static int read_order(struct fork_order *order) {
    const char *names[FORK_NAMES];
    ssize_t length = recv(channel, order_strings, sizeof order_strings, MSG_DONTWAIT);
    if (length <= 0 || order_strings[length - 1] != 0) return 0;
    char *next = order_strings, *end = order_strings + length;
    for (int i = 0; i < FORK_NAMES; i++) {
        if (next == end) return 0;
        names[i] = next;
        next += strlen(next) + 1;
    }
    *order = (struct fork_order){names[0], {names[1], names[2]}, names[3], names[4], next, (size_t)(end - next)};
    return 1;
}

static void ordered(int signal) {
    (void)signal;
    int saved_errno = errno;
    struct fork_order order;
    if (is_zygote && read_order(&order)) follow(&order);
    errno = saved_errno;
}

int zygote_begin(int control, const struct place *place, void (*show)(const char *, size_t)) {
    struct sigaction action = {.sa_handler = ordered, .sa_flags = SA_RESTART};
    channel = control;
    own_place = *place;
    show_text = show;
    is_zygote = is_of_zygote = 1;
    if (chdir(place->dir) < 0 || find_variables() < 0 || threads_prepare() < 0) return -1;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return -1;
    return sigaction(FORK_SIGNAL, &action, NULL);
}
