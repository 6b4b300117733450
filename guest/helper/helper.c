/*
 * substrate-helper: the resident personaliser inside a guest.
 *
 * It waits on a virtio-serial port of its own and does what a new identity needs by system calls alone: under TCG a
 * fork in the guest costs about 50 ms and this costs about 3. It is started before the substrate is frozen, so that a
 * clone finds it warm. `substrate-helper --once` serves one request from stdin instead, for guests into which the
 * guest agent carries it. The protocol is in PROTOCOL.md beside this file.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#define PROTOCOL_VERSION 1
#define REQUEST_CAP (64 * 1024)
#define READ_CAP 4096
#define ENTROPY_CAP 512
#define PORT_NAME "org.vm-substrate.helper.0"

static char request[REQUEST_CAP], answer[REQUEST_CAP];
static size_t answered;
/* Opened once, before the freeze: a clone then saves the cold code of opening them. */
static int control = -1;   /* an AF_INET socket: the kernel's handle for interface ioctls */
static int generator = -1; /* /dev/urandom: the kernel's random number generator */

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    va_list list;
    va_start(list, format);
    int n = vsnprintf(answer + answered, sizeof answer - answered, format, list);
    va_end(list);
    if (n > 0) answered += (size_t)n < sizeof answer - answered ? (size_t)n : sizeof answer - answered - 1;
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
        say("%c%c%c%c", alphabet[n >> 18], alphabet[n >> 12 & 63], i + 1 < length ? alphabet[n >> 6 & 63] : '=',
            i + 2 < length ? alphabet[n & 63] : '=');
    }
}

static int write_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        bytes += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Cuts the next comma-separated field off *rest; the last one gets all that remains. */
static char *field(char **rest) {
    char *value = strsep(rest, ",");
    return value ? value : "";
}

static int named_interface(struct ifreq *ifr, const char *name) {
    memset(ifr, 0, sizeof *ifr);
    if (!*name || strlen(name) >= IFNAMSIZ) return errno = EINVAL, -1;
    strcpy(ifr->ifr_name, name);
    return 0;
}

static int op_version(char *value) {
    (void)value;
    say(" version=%d", PROTOCOL_VERSION);
    return 0;
}

static int op_hostname(char *value) {
    struct utsname now;
    if (sethostname(value, strlen(value)) || uname(&now)) return -1;
    say(" hostname=%s", now.nodename);
    return 0;
}

/* mac=IFNAME,aa:bb:cc:dd:ee:ff */
static int op_mac(char *value) {
    struct ifreq ifr;
    unsigned char *mac = (unsigned char *)ifr.ifr_hwaddr.sa_data;
    if (named_interface(&ifr, field(&value))) return -1;
    ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    if (!value || sscanf(value, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6)
        return errno = EINVAL, -1;
    if (ioctl(control, SIOCSIFHWADDR, &ifr) || ioctl(control, SIOCGIFHWADDR, &ifr)) return -1;
    say(" mac=%s,%02x:%02x:%02x:%02x:%02x:%02x", ifr.ifr_name, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    return 0;
}

static struct in_addr *address_of(struct ifreq *ifr) {
    return &((struct sockaddr_in *)&ifr->ifr_addr)->sin_addr;
}

/* ipv4=IFNAME,10.0.0.2,24: the interface's only address, and the interface up */
static int op_ipv4(char *value) {
    struct ifreq ifr;
    char text[INET_ADDRSTRLEN];
    if (named_interface(&ifr, field(&value))) return -1;
    char *address = field(&value);
    int prefix = value ? atoi(value) : 0;
    ifr.ifr_addr.sa_family = AF_INET;
    if (prefix < 1 || prefix > 32 || inet_pton(AF_INET, address, address_of(&ifr)) != 1) return errno = EINVAL, -1;
    if (ioctl(control, SIOCSIFADDR, &ifr)) return -1;
    address_of(&ifr)->s_addr = htonl(0xffffffffu << (32 - prefix));
    if (ioctl(control, SIOCSIFNETMASK, &ifr)) return -1;
    if (ioctl(control, SIOCGIFFLAGS, &ifr)) return -1;
    if (!(ifr.ifr_flags & IFF_UP)) {
        ifr.ifr_flags |= IFF_UP;
        if (ioctl(control, SIOCSIFFLAGS, &ifr)) return -1;
    }
    if (ioctl(control, SIOCGIFADDR, &ifr)) return -1;
    inet_ntop(AF_INET, address_of(&ifr), text, sizeof text);
    if (ioctl(control, SIOCGIFNETMASK, &ifr)) return -1;
    say(" ipv4=%s,%s,%d", ifr.ifr_name, text, __builtin_popcount(address_of(&ifr)->s_addr));
    return 0;
}

/* carrier=IFNAME,TIMEOUT_MS: waits until the interface has its link, so that the first packet is not lost */
static int op_carrier(char *value) {
    struct ifreq ifr;
    if (named_interface(&ifr, field(&value))) return -1;
    int left_ms = value ? atoi(value) : 0;
    for (;;) {
        if (ioctl(control, SIOCGIFFLAGS, &ifr)) return -1;
        if (ifr.ifr_flags & IFF_RUNNING || left_ms-- <= 0) break;
        poll(NULL, 0, 1);
    }
    say(" carrier=%s,%d", ifr.ifr_name, !!(ifr.ifr_flags & IFF_RUNNING));
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
    if (!failed) say(" entropy=%zd", length);
    return failed ? -1 : 0;
}

/* clock=SECONDS.NANOSECONDS, or clock= to read it only */
static int op_clock(char *value) {
    struct timespec now;
    if (*value) {
        long long seconds;
        long nanoseconds;
        if (sscanf(value, "%lld.%9ld", &seconds, &nanoseconds) != 2) return errno = EINVAL, -1;
        now = (struct timespec){.tv_sec = seconds, .tv_nsec = nanoseconds};
        if (clock_settime(CLOCK_REALTIME, &now)) return -1;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    say(" clock=%lld.%09ld", (long long)now.tv_sec, now.tv_nsec);
    return 0;
}

/*
 * file=PATH,OCTAL_MODE,BASE64: the whole content; a symlink in its place is refused. Written over rather than truncated
 * first: the file system then keeps the block that it has, and takes a much shorter path.
 */
static int op_file(char *value) {
    struct stat now;
    char *path = field(&value);
    mode_t mode = (mode_t)strtoul(field(&value), NULL, 8);
    ssize_t length = value ? base64_decode(value) : -1;
    if (length < 0 || *path != '/') return errno = EINVAL, -1;
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) return -1;
    int failed = fstat(fd, &now) || write_all(fd, value, (size_t)length);
    if (!failed && now.st_size > length) failed = ftruncate(fd, length);
    if (!failed && (now.st_mode & 07777) != mode) failed = fchmod(fd, mode);
    explicit_bzero(value, (size_t)length);
    if (close(fd) || failed) return -1;
    say(" file=%s,%zd", path, length);
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
    say(" read=%s,", value);
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
    long keep_kib = atol(value), free_kib = 0, scrubbed = 0;
    char line[128];
    void *taken = NULL; /* a chain: each chunk's first word points to the one before */
    for (;;) {
        FILE *meminfo = fopen("/proc/meminfo", "re");
        if (!meminfo) return -1;
        while (fgets(line, sizeof line, meminfo) && sscanf(line, "MemFree: %ld", &free_kib) != 1) continue;
        fclose(meminfo);
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
    say(" scrub=%ld", scrubbed);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(char *value);
} operations[] = {
    {"version", op_version}, {"hostname", op_hostname}, {"mac", op_mac},   {"ipv4", op_ipv4}, {"carrier", op_carrier},
    {"entropy", op_entropy}, {"clock", op_clock},       {"file", op_file}, {"read", op_read}, {"scrub", op_scrub},
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
    answered = 0;
    say("%.64s ok", id);
    for (char *operation; (operation = strsep(&rest, " "));) {
        char name[16];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(operation, "="), operation);
        if (run_operation(operation) == 0) continue;
        int failure = errno;
        answered = 0;
        say("%.64s error %s %d", id, name, failure);
        break;
    }
    answered = answered < sizeof answer - 2 ? answered : sizeof answer - 2;
    say("\n");
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
                serve(request);
                if (write_all(out, answer, answered)) exit(1);
                if (once) return;
            }
            dropping = 0;
            held -= used;
            memmove(request, request + used, held);
        }
        if (held == sizeof request) dropping = 1, held = 0;
    }
}

int main(int argc, char **argv) {
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    generator = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (argc > 1 && !strcmp(argv[1], "--once")) {
        serve_lines(0, 1, 1);
        return 0;
    }
    int port = open_port();
    if (port < 0) return perror("substrate-helper: port " PORT_NAME), 1;
    serve_lines(port, port, 0);
}
