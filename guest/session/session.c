/*
 * Carries sessions between the host and programs of this guest over one virtio-serial port: see PROTOCOL.md.
 *
 * Started as `substrate-session PORT` by the guest agent. It looks for the port of that name and waits for the host on it;
 * then it goes to the background and answers with status 0. It ends when the host is gone, and ends all programs before.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "session.h"

#define PORTS "/sys/class/virtio-ports"
#define PORT_WAIT_MS 5000
#define PORT_LOOK_MS 2
/* From a program's end: so long is waited for what those that it has started may still say. */
#define LINGER_MS 200
/* Between SIGHUP and SIGKILL. */
#define KILL_MS 1000
/* Between two looks for what is left of a program that is ended. */
#define LOOK_MS 20
/* A terminal loses the end of its input when that comes while a program changes its mode: it is typed again. */
#define END_AGAIN_MS 250
#define READ_BYTES 32768
#define CREDIT_BYTES 16384
/* Nothing more is read while so much waits for the host. What comes on top of it has room. */
#define OUTBOX_HIGH 65536
#define OUTBOX_BYTES 262144
#define STRINGS_MAX 4096

enum to_guest { OPEN = 1, STDIN, STDIN_END, RESIZE, SIGNAL, CREDIT, CLOSE };
enum to_host { STARTED = 16, STDOUT, STDERR, STDIN_CREDIT, EXITED, FAILED };

struct session {
    int is_used;
    struct program program;
    /* What the program has not read yet. */
    unsigned char *input;
    size_t input_at, input_length, input_credit;
    int input_ends;
    /* Of a terminal: when its end is typed again. */
    long long end_at;
    /* How much of each output the host takes. */
    size_t credit[2];
    int has_exited;
    unsigned char exit_kind, exit_value;
    long long exited_at;
    /* What was in its outputs when it ended, and is read whatever it takes. */
    size_t due[2];
    int is_closing;
    long long kill_at, look_at;
};

static struct session sessions[SESSIONS_MAX];
static int port = -1;
static unsigned char inbox[HEADER_BYTES + PAYLOAD_MAX];
static size_t inbox_length;
static unsigned char outbox[OUTBOX_BYTES];
static size_t outbox_at, outbox_length;

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* The host does not keep to the protocol, or this program does not. */
static void fail(void) {
    for (int i = 0; i < SESSIONS_MAX; i++)
        if (sessions[i].is_used) program_signal_all(&sessions[i].program, SIGKILL);
    _exit(1);
}

static void put16(unsigned char *at, unsigned value) {
    at[0] = value >> 8;
    at[1] = value;
}

static void put32(unsigned char *at, unsigned long value) {
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static unsigned get16(const unsigned char *at) {
    return (unsigned)at[0] << 8 | at[1];
}

static unsigned long get32(const unsigned char *at) {
    return (unsigned long)get16(at) << 16 | get16(at + 2);
}

/* Room for a payload of `length`, behind its header. */
static unsigned char *frame(enum to_host type, const struct session *session, size_t length) {
    if (outbox_at > 0 && outbox_length + HEADER_BYTES + length > OUTBOX_BYTES) {
        memmove(outbox, outbox + outbox_at, outbox_length - outbox_at);
        outbox_length -= outbox_at;
        outbox_at = 0;
    }
    if (outbox_length + HEADER_BYTES + length > OUTBOX_BYTES) fail();
    unsigned char *at = outbox + outbox_length;
    at[0] = type;
    put16(at + 1, session - sessions + 1);
    put32(at + 3, length);
    outbox_length += HEADER_BYTES + length;
    return at + HEADER_BYTES;
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void close_all(struct session *session) {
    close_fd(&session->program.report);
    close_fd(&session->program.input);
    for (int i = 0; i < 2; i++) {
        close_fd(&session->program.output[i]);
        session->due[i] = 0;
    }
}

static void forget(struct session *session) {
    close_all(session);
    if (session->program.pid > 0) waitpid(session->program.pid, NULL, 0);
    free(session->input);
    memset(session, 0, sizeof *session);
}

static void say_failed(struct session *session, enum failed_step step, int error) {
    unsigned char *at = frame(FAILED, session, 2);
    at[0] = step;
    at[1] = error;
    forget(session);
}

static char *next_string(unsigned char **at, unsigned char *end) {
    unsigned char *zero = memchr(*at, 0, end - *at);
    if (zero == NULL) fail();
    char *text = (char *)*at;
    *at = zero + 1;
    return text;
}

static void open_session(struct session *session, unsigned char *payload, size_t length) {
    static char *argv[STRINGS_MAX + 1], *env[STRINGS_MAX + 1];
    if (session->is_used || length < 9) fail();
    unsigned argc = get16(payload + 5), envc = get16(payload + 7);
    if (argc < 1 || argc > STRINGS_MAX || envc > STRINGS_MAX) fail();
    unsigned char *at = payload + 9, *end = payload + length;
    struct start start = {.is_tty = payload[0], .columns = get16(payload + 1), .rows = get16(payload + 3)};
    start.folder = next_string(&at, end);
    for (unsigned i = 0; i < argc; i++) argv[i] = next_string(&at, end);
    for (unsigned i = 0; i < envc; i++) env[i] = next_string(&at, end);
    argv[argc] = env[envc] = NULL;
    start.argv = argv;
    start.env = env;
    *session = (struct session){.is_used = 1, .credit = {OUTPUT_WINDOW, OUTPUT_WINDOW}};
    session->program = (struct program){.report = -1, .input = -1, .output = {-1, -1}};
    session->input = malloc(STDIN_WINDOW + 1); /* and the character that ends a terminal's input */
    int error = session->input == NULL ? ENOMEM : program_start(&session->program, &start);
    if (error != 0) say_failed(session, FAILED_RESOURCES, error);
}

static void take_input(struct session *session, const unsigned char *payload, size_t length) {
    if (session->input_length + length > STDIN_WINDOW || session->input_ends) fail();
    if (session->input_at + session->input_length + length > STDIN_WINDOW) {
        memmove(session->input, session->input + session->input_at, session->input_length);
        session->input_at = 0;
    }
    memcpy(session->input + session->input_at + session->input_length, payload, length);
    session->input_length += length;
}

/* Behind all that is to be read before. */
static void type_end(struct session *session) {
    memmove(session->input, session->input + session->input_at, session->input_length);
    session->input_at = 0;
    session->input[session->input_length++] = program_end_character(&session->program);
    session->end_at = now_ms() + END_AGAIN_MS;
}

static int is_typing_ends(const struct session *session) {
    return session->input_ends && session->program.is_tty && session->program.input >= 0 && !session->has_exited;
}

static void end_input(struct session *session) {
    if (session->input_ends) return;
    session->input_ends = 1;
    if (is_typing_ends(session)) type_end(session);
}

/* Whoever reads its outputs is gone: they are closed, which is also the end of its terminal. */
static void begin_close(struct session *session) {
    if (session->is_closing) return;
    session->is_closing = 1;
    session->kill_at = now_ms() + KILL_MS;
    program_signal_all(&session->program, SIGHUP);
    program_signal_all(&session->program, SIGCONT);
    close_all(session);
}

static void take_frame(int type, unsigned number, unsigned char *payload, size_t length) {
    if (number < 1 || number > SESSIONS_MAX) fail();
    struct session *session = &sessions[number - 1];
    if (type == OPEN) {
        open_session(session, payload, length);
        return;
    }
    if (!session->is_used || session->is_closing) return; /* it has ended while this was on its way */
    switch (type) {
    case STDIN:
        take_input(session, payload, length);
        return;
    case STDIN_END:
        end_input(session);
        return;
    case RESIZE:
        if (length != 4) fail();
        program_resize(&session->program, get16(payload), get16(payload + 2));
        return;
    case SIGNAL:
        if (length != 1 || payload[0] == 0 || payload[0] >= NSIG) fail();
        if (!session->has_exited) program_signal(&session->program, payload[0]);
        return;
    case CREDIT:
        if (length != 5 || payload[0] > 1) fail();
        session->credit[payload[0]] += get32(payload + 1);
        if (session->credit[payload[0]] > OUTPUT_WINDOW) fail();
        return;
    case CLOSE:
        begin_close(session);
        return;
    default:
        fail();
    }
}

static void lose_host(void) {
    close_fd(&port);
    outbox_at = outbox_length = 0;
    for (int i = 0; i < SESSIONS_MAX; i++)
        if (sessions[i].is_used) begin_close(&sessions[i]);
}

static void read_port(void) {
    ssize_t n = read(port, inbox + inbox_length, sizeof inbox - inbox_length);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        lose_host();
        return;
    }
    inbox_length += n;
    size_t at = 0;
    while (inbox_length - at >= HEADER_BYTES) {
        size_t length = get32(inbox + at + 3);
        if (length > PAYLOAD_MAX) fail();
        if (inbox_length - at < HEADER_BYTES + length) break;
        take_frame(inbox[at], get16(inbox + at + 1), inbox + at + HEADER_BYTES, length);
        at += HEADER_BYTES + length;
    }
    memmove(inbox, inbox + at, inbox_length - at);
    inbox_length -= at;
}

static void write_port(void) {
    ssize_t n = write(port, outbox + outbox_at, outbox_length - outbox_at);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        lose_host();
        return;
    }
    outbox_at += n;
    if (outbox_at == outbox_length) outbox_at = outbox_length = 0;
}

static void read_report(struct session *session) {
    unsigned char word[2];
    ssize_t n = read(session->program.report, word, sizeof word);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    close_fd(&session->program.report);
    if (n == sizeof word) say_failed(session, word[0], word[1]);
    else frame(STARTED, session, 0);
}

static void write_input(struct session *session) {
    struct program *program = &session->program;
    if (session->input_length > 0) {
        ssize_t n = write(program->input, session->input + session->input_at, session->input_length);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n < 0) { /* nobody will read it: what comes is dropped */
            n = session->input_length;
            close_fd(&program->input);
        }
        session->input_at += n;
        session->input_length -= n;
        session->input_credit += n;
    }
    if (session->input_length > 0) return;
    session->input_at = 0;
    if (session->input_ends && !program->is_tty) close_fd(&program->input);
}

static void give_input_credit(struct session *session) {
    if (session->input_credit == 0) return;
    if (session->input_credit < CREDIT_BYTES && session->input_length > 0) return;
    if (!session->input_ends) put32(frame(STDIN_CREDIT, session, 4), session->input_credit);
    session->input_credit = 0;
}

static void read_output(struct session *session, int i) {
    static unsigned char bytes[READ_BYTES];
    size_t most = session->credit[i] < sizeof bytes ? session->credit[i] : sizeof bytes;
    ssize_t n = read(session->program.output[i], bytes, most);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) { /* a terminal that nobody has open any more says EIO */
        close_fd(&session->program.output[i]);
        session->due[i] = 0;
        return;
    }
    memcpy(frame(i == 0 ? STDOUT : STDERR, session, n), bytes, n);
    session->credit[i] -= n;
    session->due[i] -= (size_t)n < session->due[i] ? (size_t)n : session->due[i];
}

/* A program that has ended stays a zombie until its session ends, so that its number stays its own. */
static void look_for_exit(struct session *session) {
    siginfo_t info = {0};
    if (session->has_exited || waitid(P_PID, session->program.pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return;
    if (info.si_pid == 0) return;
    session->has_exited = 1;
    session->exited_at = now_ms();
    session->exit_kind = info.si_code == CLD_EXITED ? 0 : 1;
    session->exit_value = info.si_status;
    for (int i = 0; i < 2; i++) {
        int waiting = 0;
        if (session->program.output[i] < 0 || ioctl(session->program.output[i], FIONREAD, &waiting) < 0) waiting = 0;
        session->due[i] = waiting;
    }
}

static int is_over(struct session *session, long long now) {
    if (session->is_closing) {
        if (now < session->look_at || (!session->has_exited && now < session->kill_at)) return 0;
        session->look_at = now + LOOK_MS;
        int others = program_signal_all(&session->program, now < session->kill_at ? 0 : SIGKILL);
        return session->has_exited && (others == 0 || now >= session->kill_at);
    }
    if (!session->has_exited || session->program.report >= 0) return 0;
    if (session->program.output[0] < 0 && session->program.output[1] < 0) return 1;
    return now >= session->exited_at + LINGER_MS && session->due[0] == 0 && session->due[1] == 0;
}

static void end_session(struct session *session) {
    if (port >= 0) {
        unsigned char *at = frame(EXITED, session, 2);
        at[0] = session->exit_kind;
        at[1] = session->exit_value;
    }
    forget(session);
}

/* When something is to be done that no descriptor tells. */
static int patience_ms(long long now) {
    long long least = -1;
    for (int i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &sessions[i];
        if (!session->is_used) continue;
        long long left = 0;
        if (is_typing_ends(session)) left = session->end_at - now;
        else if (session->has_exited) left = session->exited_at + LINGER_MS - now;
        else if (!session->is_closing) continue;
        if (session->is_closing) left = session->has_exited ? LOOK_MS : session->kill_at - now;
        if (left <= 0) left = LOOK_MS; /* its time is over, and something else is missing */
        if (least < 0 || left < least) least = left;
    }
    return least;
}

static int count_used(void) {
    int count = 0;
    for (int i = 0; i < SESSIONS_MAX; i++) count += sessions[i].is_used;
    return count;
}

struct watched {
    struct session *session;
    void (*handle)(struct session *);
    int output;
};

static void carry(int children) {
    static struct pollfd polled[2 + 4 * SESSIONS_MAX];
    static struct watched watched[2 + 4 * SESSIONS_MAX];
    while (port >= 0 || count_used() > 0) {
        int is_full = outbox_length - outbox_at > OUTBOX_HIGH, count = 2;
        short port_events = (is_full ? 0 : POLLIN) | (outbox_length > outbox_at ? POLLOUT : 0);
        polled[0] = (struct pollfd){.fd = port, .events = port_events};
        polled[1] = (struct pollfd){.fd = children, .events = POLLIN};
        for (int i = 0; i < SESSIONS_MAX; i++) {
            struct session *session = &sessions[i];
            if (!session->is_used || is_full) continue;
            struct program *program = &session->program;
            if (program->report >= 0) {
                polled[count] = (struct pollfd){.fd = program->report, .events = POLLIN};
                watched[count++] = (struct watched){.session = session, .handle = read_report};
                continue;
            }
            if (program->input >= 0 && (session->input_length > 0 || (session->input_ends && !program->is_tty))) {
                polled[count] = (struct pollfd){.fd = program->input, .events = POLLOUT};
                watched[count++] = (struct watched){.session = session, .handle = write_input};
            }
            for (int output = 0; output < 2; output++) {
                if (program->output[output] < 0 || session->credit[output] == 0) continue;
                polled[count] = (struct pollfd){.fd = program->output[output], .events = POLLIN};
                watched[count++] = (struct watched){.session = session, .output = output};
            }
        }
        if (poll(polled, count, patience_ms(now_ms())) < 0 && errno != EINTR) fail();
        for (int i = 2; i < count; i++) {
            struct session *session = watched[i].session;
            if (polled[i].revents == 0 || !session->is_used) continue;
            /* A frame of output more may not be too much for what else is to be said. */
            if (outbox_length - outbox_at > OUTBOX_HIGH) break;
            if (watched[i].handle != NULL) watched[i].handle(session);
            else read_output(session, watched[i].output);
        }
        if (polled[1].revents != 0) {
            struct signalfd_siginfo info;
            while (read(children, &info, sizeof info) > 0) continue;
        }
        if (port >= 0 && (polled[0].revents & POLLOUT) != 0) write_port();
        if (port >= 0 && (polled[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) lose_host();
        if (port >= 0 && (polled[0].revents & POLLIN) != 0) read_port();
        long long now = now_ms();
        for (int i = 0; i < SESSIONS_MAX; i++) {
            struct session *session = &sessions[i];
            if (!session->is_used) continue;
            look_for_exit(session);
            if (is_typing_ends(session) && session->input_length == 0 && now >= session->end_at) type_end(session);
            if (port >= 0 && !session->is_closing) give_input_credit(session);
            if (is_over(session, now)) end_session(session);
        }
    }
}

/* The name of the port's device, once the kernel has both. */
static int find_port(const char *wanted) {
    DIR *ports = opendir(PORTS);
    int found = -1;
    for (struct dirent *entry; ports != NULL && found < 0 && (entry = readdir(ports)) != NULL;) {
        char path[300], name[128];
        snprintf(path, sizeof path, PORTS "/%.64s/name", entry->d_name);
        int fd = entry->d_name[0] == '.' ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
        if (fd >= 0) close(fd);
        if (n <= 0) continue;
        name[n] = 0;
        name[strcspn(name, "\n")] = 0;
        if (strcmp(name, wanted) != 0) continue;
        snprintf(path, sizeof path, "/dev/%.64s", entry->d_name);
        found = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    if (ports != NULL) closedir(ports);
    return found;
}

static int wait_for_host(const char *name) {
    struct timespec pause = {.tv_nsec = PORT_LOOK_MS * 1000000L};
    long long until = now_ms() + PORT_WAIT_MS;
    for (;; nanosleep(&pause, NULL)) {
        if (port < 0) port = find_port(name);
        struct pollfd polled = {.fd = port, .events = POLLOUT};
        if (port >= 0 && poll(&polled, 1, 0) >= 0 && (polled.revents & POLLHUP) == 0) return 0;
        if (now_ms() > until) return -1;
    }
}

/* Nobody waits for this process, and its descriptors are not those of whoever started it. */
static void go_to_background(void) {
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t pid = fork();
    if (pid != 0) _exit(pid < 0 ? 3 : 0);
    setsid();
    for (int fd = 0; fd < 3; fd++) dup2(nothing, fd);
    if (nothing > 2) close(nothing);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    signal(SIGPIPE, SIG_IGN);
    if (wait_for_host(argv[1]) < 0) {
        fprintf(stderr, port < 0 ? "no port of that name\n" : "nobody at the other end of the port\n");
        return 1;
    }
    go_to_background();
    if (chdir("/") < 0) return 1;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    int children = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    if (children < 0) return 1;
    carry(children);
    return 0;
}
