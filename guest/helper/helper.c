/*
 * substrate-helper: the resident personaliser inside a guest.
 *
 * It waits on a virtio-serial port of its own and does what a new identity needs by system calls alone: under TCG a
 * fork in the guest costs about 50 ms and this costs about 3. It is started before the substrate is frozen, so that a
 * clone finds it warm. `substrate-helper --once` serves one request from stdin instead, for guests into which the
 * guest agent carries it. The protocol is in PROTOCOL.md beside this file.
 *
 * Here: requests and answers, and all operations but those of interfaces.c and resources.c.
 */
#define _GNU_SOURCE /* fallocate */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "helper.h"

#define PROTOCOL_VERSION 3
#define REQUEST_CAP (64 * 1024)
#define READ_CAP 4096
#define ENTROPY_CAP 512
#define KEPT_FILES 16
#define POLLS_CAP 1000000
#define PORT_NAME "org.vm-substrate.helper.0"

static char request[REQUEST_CAP], answer[REQUEST_CAP];
static size_t answered;
/* /dev/urandom: the kernel's random number generator. Opened once, before the freeze, as a clone's code of doing so is cold. */
static int generator = -1;
/* The virtio-serial port that requests come from, unless it is stdin. */
static int port = -1;
/* How often to ask for a request before sleeping until there is one. */
static int polls_left;

/*
 * The answer is put together by these and not by printf, and numbers are read by `number` and not by scanf: in a clone
 * under TCG every basic block that runs for the first time costs 8 us, and musl's formatter has some hundred of them.
 */
void say_char(char c) {
    if (answered < sizeof answer - 1) answer[answered++] = c;
}

void say(const char *text) {
    while (*text) say_char(*text++);
}

void say_number(unsigned long long value) {
    char digits[20];
    int n = 0;
    do digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n > 0) say_char(digits[--n]);
}

void say_hex(const unsigned char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        say_char("0123456789abcdef"[bytes[i] >> 4]);
        say_char("0123456789abcdef"[bytes[i] & 15]);
    }
}

/* " NAME=", and for an operation on a named thing " NAME=THING,". */
void say_result(const char *operation, const char *thing) {
    say_char(' ');
    say(operation);
    say_char('=');
    if (!thing) return;
    say(thing);
    say_char(',');
}

/* Reads digits of `base` (8 or 10) up to the first other character, which *text then points to; -1 without a digit. */
long long number(char **text, int base) {
    long long value = 0;
    char *c = *text;
    while (*c >= '0' && *c < '0' + base && value < 1000000000000LL) value = value * base + (*c++ - '0');
    if (c == *text) return -1;
    *text = c;
    return value;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Reads `length` bytes of two hexadecimal digits each, with `separator` between them unless it is 0, and no more. */
int hex_bytes(const char *text, unsigned char *bytes, size_t length, char separator) {
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && separator && *text++ != separator) return -1;
        int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0) return -1;
        bytes[i] = (unsigned char)(high << 4 | low);
        text += 2;
    }
    return *text ? -1 : 0;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Decodes in place and returns the length, or -1. */
static ssize_t base64_decode(char *text) {
    size_t length = 0;
    unsigned bits = 0, held = 0;
    for (char *c = text; *c && *c != '='; c++) {
        const char *at = strchr(alphabet, *c);
        if (!at) return -1;
        bits = (bits << 6) | (unsigned)(at - alphabet);
        if ((held += 6) >= 8) text[length++] = (char)(bits >> (held -= 8));
    }
    return (ssize_t)length;
}

static void say_base64(const unsigned char *bytes, size_t length) {
    for (size_t i = 0; i < length; i += 3) {
        unsigned n = bytes[i] << 16 | (i + 1 < length ? bytes[i + 1] << 8 : 0) | (i + 2 < length ? bytes[i + 2] : 0);
        say_char(alphabet[n >> 18]);
        say_char(alphabet[n >> 12 & 63]);
        say_char(i + 1 < length ? alphabet[n >> 6 & 63] : '=');
        say_char(i + 2 < length ? alphabet[n & 63] : '=');
    }
}

static int write_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN && poll(NULL, 0, 1) == 0) continue; /* the port, while it is polled, is full */
        if (n < 0) return -1;
        bytes += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Cuts the next comma-separated field off *rest; the last one gets all that remains. */
char *field(char **rest) {
    char *value = strsep(rest, ",");
    return value ? value : "";
}

static int op_version(char *value) {
    (void)value;
    say_result("version", NULL);
    say_number(PROTOCOL_VERSION);
    return 0;
}

/* hostname=NAME, or hostname= to read it only */
static int op_hostname(char *value) {
    struct utsname now;
    if (*value && sethostname(value, strlen(value))) return -1;
    if (uname(&now)) return -1;
    say_result("hostname", NULL);
    say(now.nodename);
    return 0;
}

/*
 * entropy=BASE64: mixed in, credited, and the generator reseeded at once. Two clones of one substrate return equal
 * bytes from /dev/urandom until this is done; the kernel's own reseed comes up to a minute later.
 */
static int op_entropy(char *value) {
    static struct {
        struct rand_pool_info info;
        char bytes[ENTROPY_CAP];
    } pool;
    ssize_t length = base64_decode(value);
    if (length < 32 || length > ENTROPY_CAP) return errno = EINVAL, -1;
    pool.info.entropy_count = (int)length * 8;
    pool.info.buf_size = (int)length;
    memcpy(pool.bytes, value, (size_t)length);
    int failed = ioctl(generator, RNDADDENTROPY, &pool) || ioctl(generator, RNDRESEEDCRNG);
    explicit_bzero(&pool, sizeof pool);
    explicit_bzero(value, (size_t)length);
    if (failed) return -1;
    say_result("entropy", NULL);
    say_number((unsigned long long)length);
    return 0;
}

/* clock=SECONDS.NANOSECONDS, or clock= to read it only */
static int op_clock(char *value) {
    struct timespec now;
    if (*value) {
        long long seconds = number(&value, 10);
        long long nanoseconds = seconds < 0 || *value++ != '.' ? -1 : number(&value, 10);
        if (nanoseconds < 0 || nanoseconds > 999999999 || *value) return errno = EINVAL, -1;
        now = (struct timespec){.tv_sec = seconds, .tv_nsec = (long)nanoseconds};
        if (clock_settime(CLOCK_REALTIME, &now)) return -1;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    say_result("clock", NULL);
    say_number((unsigned long long)now.tv_sec);
    say_char('.');
    for (long unit = 100000000; unit > 0; unit /= 10) say_char((char)('0' + now.tv_nsec / unit % 10));
    return 0;
}

/*
 * Files stay open once written, the first ones at least: those of an identity, rehearsed before the freeze. Opening and
 * closing is more than half of what a write takes.
 */
static struct {
    char path[128];
    int fd;
} kept[KEPT_FILES];
static int kept_count;

/* A descriptor for writing, and what is there now. A file that was replaced or removed meanwhile is opened anew. */
static int open_file(const char *path, mode_t mode, struct stat *now, int *is_kept) {
    int at = 0;
    while (at < kept_count && strcmp(kept[at].path, path)) at++;
    *is_kept = at < kept_count;
    if (*is_kept && kept[at].fd >= 0) {
        if (!fstat(kept[at].fd, now) && now->st_nlink > 0) return kept[at].fd;
        close(kept[at].fd);
        kept[at].fd = -1;
    }
    /* Without O_CREAT first: the usual case, and a shorter way. No O_CLOEXEC: the helper starts no programs. */
    int fd = open(path, O_WRONLY | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW, mode);
    if (fd < 0) return -1;
    if (fstat(fd, now)) return close(fd), -1;
    if (!*is_kept && kept_count < KEPT_FILES && strlen(path) < sizeof kept->path) {
        strcpy(kept[kept_count++].path, path);
        *is_kept = 1;
    }
    if (*is_kept) kept[at].fd = fd;
    return fd;
}

/*
 * file=PATH,OCTAL_MODE,BASE64: the whole content; a symlink in its place is refused. Written over rather than truncated
 * first: the file system then keeps the block that it has, and takes a much shorter path. A file that is emptied keeps one
 * for the same reason, for what will be written next.
 */
static int op_file(char *value) {
    struct stat now;
    int is_kept;
    char *path = field(&value);
    char *octal = field(&value);
    long long mode = number(&octal, 8);
    ssize_t length = value ? base64_decode(value) : -1;
    if (length < 0 || *path != '/' || mode < 0 || mode > 07777 || *octal) return errno = EINVAL, -1;
    int fd = open_file(path, (mode_t)mode, &now, &is_kept);
    if (fd < 0) return -1;
    int failed = length > 0 && (pwrite(fd, value, (size_t)length, 0) != length);
    if (!failed && now.st_size > length) {
        failed = ftruncate(fd, length);
        if (length == 0) fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1); /* where the file system can */
    }
    if (!failed && (now.st_mode & 07777) != (mode_t)mode) failed = fchmod(fd, (mode_t)mode);
    explicit_bzero(value, (size_t)length);
    if (!is_kept && close(fd)) return -1;
    if (failed) return -1;
    say_result("file", path);
    say_number((unsigned long long)length);
    return 0;
}

/* append=PATH,BASE64: further bytes of a file that is there; a content larger than a request comes by several. */
static int op_append(char *value) {
    struct stat now;
    char *path = field(&value);
    ssize_t length = value ? base64_decode(value) : -1;
    if (length < 0 || *path != '/') return errno = EINVAL, -1;
    int fd = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -1;
    int failed = write_all(fd, value, (size_t)length) || fstat(fd, &now);
    explicit_bzero(value, (size_t)length);
    if (close(fd) || failed) return -1;
    say_result("append", path);
    say_number((unsigned long long)now.st_size);
    return 0;
}

/* read=PATH: the first 4 KiB */
static int op_read(char *value) {
    unsigned char bytes[READ_CAP];
    int fd = open(value, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t length = read(fd, bytes, sizeof bytes);
    close(fd);
    if (length < 0) return -1;
    say_result("read", value);
    say_base64(bytes, (size_t)length);
    return 0;
}

/*
 * scrub=KEEP_KIB: takes all free memory but KEEP_KIB, which the kernel hands out zeroed, and gives it back. Free pages
 * then hold zeros rather than the leavings of the boot: nothing of it ends up in the substrate, and zero pages need no
 * room in its RAM file.
 */
static int op_scrub(char *value) {
    const size_t chunk = 1024 * 1024;
    long keep_kib = atol(value), scrubbed = 0;
    void *taken = NULL; /* a chain: each chunk's first word points to the one before */
    for (;;) {
        long long free_kib = meminfo_kib("MemFree:");
        if (free_kib < 0) return -1;
        if (free_kib <= keep_kib + (long)(chunk / 1024)) break;
        void *more = mmap(NULL, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (more == MAP_FAILED) break;
        *(void **)more = taken;
        taken = more;
        scrubbed += (long)(chunk / 1024);
    }
    while (taken) {
        void *before = *(void **)taken;
        *(void **)taken = NULL;
        munmap(taken, chunk);
        taken = before;
    }
    say_result("scrub", NULL);
    say_number((unsigned long long)scrubbed);
    return 0;
}

/*
 * poll=READS: after its answer the helper does not sleep until the next request comes, but asks for it up to READS times, and
 * alone has the processor meanwhile. A guest that is frozen then goes on in every clone in the middle of that, and not asleep:
 * waking up and changing to another program is a tenth of what a clone runs until it is personal.
 */
static int op_poll(char *value) {
    long long reads = number(&value, 10);
    if (port < 0 || reads < 0 || reads > POLLS_CAP || *value) return errno = EINVAL, -1;
    if (fcntl(port, F_SETFL, O_RDWR | O_NONBLOCK)) return -1;
    polls_left = (int)reads;
    say_result("poll", NULL);
    say_number((unsigned)polls_left);
    return 0;
}

static void sleep_again(void) {
    polls_left = 0;
    fcntl(port, F_SETFL, O_RDWR);
}

static const struct {
    const char *name;
    int (*run)(char *value);
} operations[] = {
    {"hostname", op_hostname}, {"mac", op_mac},         {"ipv4", op_ipv4},     {"ipv6", op_ipv6},
    {"clock", op_clock},       {"entropy", op_entropy}, {"file", op_file},     {"append", op_append},
    {"read", op_read},         {"scrub", op_scrub},     {"version", op_version},
    {"cpus", op_cpus},         {"memory", op_memory},   {"disk", op_disk},
    {"partition", op_partition}, {"http", op_http},     {"poll", op_poll},
    {"udev", op_udev}, {"onlining", op_onlining}, {"offline", op_offline},
};

static int run_operation(char *text) {
    char *name = strsep(&text, "=");
    for (size_t i = 0; text && i < sizeof operations / sizeof *operations; i++)
        if (!strcmp(operations[i].name, name)) return operations[i].run(text);
    return errno = ENOSYS, -1;
}

/* Serves one request line (without its newline); the answer is in `answer`. Operations run in order, up to a failure. */
static void serve(char *line) {
    char *rest = line, *id = strsep(&rest, " ");
    if (strlen(id) > 64) id[64] = 0;
    answered = 0;
    say(id);
    say(" ok");
    for (char *operation; (operation = strsep(&rest, " "));) {
        char name[16] = "";
        for (size_t i = 0; i < sizeof name - 1 && operation[i] && operation[i] != '='; i++) name[i] = operation[i];
        if (run_operation(operation) == 0) continue;
        int failure = errno;
        answered = 0;
        say(id);
        say(" error ");
        say(name);
        say_char(' ');
        say_number((unsigned)failure);
        break;
    }
    answered = answered < sizeof answer - 2 ? answered : sizeof answer - 2;
    say_char('\n');
}

/* The port's number depends on the order of devices; its name does not. */
static int open_port(void) {
    char path[300], name[64];
    DIR *ports = opendir("/sys/class/virtio-ports");
    for (struct dirent *entry; ports && (entry = readdir(ports));) {
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
        if (fd >= 0) close(fd);
        if (n <= 0) continue;
        name[n] = 0;
        name[strcspn(name, "\n")] = 0;
        if (strcmp(name, PORT_NAME)) continue;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        closedir(ports);
        return open(path, O_RDWR | O_CLOEXEC);
    }
    if (ports) closedir(ports);
    return errno = ENOENT, -1;
}

/* Reads lines for ever. A line over the cap is dropped whole. `once` returns after the first. */
static void serve_lines(int in, int out, int once) {
    size_t held = 0;
    int dropping = 0;
    for (;;) {
        ssize_t n = read(in, request + held, sizeof request - held);
        if (n < 0 && errno == EAGAIN && polls_left > 0) {
            if (--polls_left == 0) sleep_again();
            continue;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN) exit(1);
        if (n <= 0) { /* nobody is connected on the host's side: read returns 0 at once */
            if (once) return;
            poll(NULL, 0, 20);
            held = 0;
            dropping = 0;
            continue;
        }
        held += (size_t)n;
        for (char *end; (end = memchr(request, '\n', held));) {
            size_t used = (size_t)(end - request) + 1;
            *end = 0;
            if (!dropping) {
                int polled = polls_left > 0;
                polls_left = 0;
                serve(request);
                if (write_all(out, answer, answered)) exit(1);
                if (polled && polls_left == 0) sleep_again(); /* after the answer: nobody waits for it */
                if (once) return;
            }
            dropping = 0;
            held -= used;
            memmove(request, request + used, held);
        }
        if (held == sizeof request) dropping = 1, held = 0;
    }
}

/*
 * Before anything else of the guest: what setting an address or waking up makes kernel threads do (announcements, RCU,
 * statistics) is then done after the answer, beside the host's next steps, instead of before it. The helper sleeps in
 * read() otherwise. By number, because musl's own function only says ENOSYS. Source: sched(7).
 */
void come_first(void) {
    struct sched_param lowest = {.sched_priority = 1};
    syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &lowest);
}

/* As any other program, for work that takes long. */
void go_in_line(void) {
    struct sched_param none = {0};
    syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &none);
}

int main(int argc, char **argv) {
    open_network();
    generator = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (argc > 1 && !strcmp(argv[1], "--once")) {
        serve_lines(0, 1, 1);
        return 0;
    }
    port = open_port();
    if (port < 0) return perror("substrate-helper: port " PORT_NAME), 1;
    come_first();
    serve_lines(port, port, 0);
}
