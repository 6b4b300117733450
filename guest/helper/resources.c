/*
 * Processors, memory and disk that were plugged in or enlarged while the guest was paused: made usable, and counted.
 *
 * The kernel takes notice of each by work of its own, after the guest runs again. The helper comes before that work (see
 * come_first), so that it must sleep between two looks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "helper.h"

#define WAIT_MS 5000
#define LOOK_MS 4
/* Looking through all memory blocks takes as long as some of the kernel's own work that is waited for. */
#define BLOCKS_LOOK_MS 50

#define CPUS "/sys/devices/system/cpu/"
#define EXPEDITED "/sys/kernel/rcu_expedited"
/* Source: Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze */
#define UDEV_FREEZE "/sys/fs/cgroup/system.slice/systemd-udevd.service/cgroup.freeze"
#define BLOCKS "/sys/devices/system/memory/"
#define ONLINING BLOCKS "auto_online_blocks"
/* For what can be moved: such a block can be switched off again. Source: Documentation/admin-guide/mm/memory-hotplug.rst */
#define MOVABLE "online_movable"
#define OFF_SECONDS 10

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* The beginning of a file in sysfs, without its newline; empty when it cannot be read. */
static const char *read_line(const char *path) {
    static char line[128];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0) close(fd);
    line[n > 0 ? n : 0] = 0;
    line[strcspn(line, "\n")] = 0;
    return line;
}

static int write_line(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n < 0 ? -1 : 0;
}

/* "0-3,5" are five. */
static long long count_list(const char *list) {
    char *at = (char *)list;
    long long count = 0;
    while (*at) {
        long long first = number(&at, 10), last = first;
        if (*at == '-') at++, last = number(&at, 10);
        if (first < 0 || last < first) return -1;
        count += last - first + 1;
        if (*at == ',') at++;
    }
    return count;
}

/* Every number in a folder's names of the form PREFIXn, in whatever order. Returns how often `visit` succeeded. */
static int each_numbered(const char *folder, const char *prefix, int (*visit)(const char *name)) {
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *digits = entry->d_name + strlen(prefix);
        if (strncmp(entry->d_name, prefix, strlen(prefix)) || *digits < '0' || *digits > '9') continue;
        count += visit(entry->d_name) == 0;
    }
    if (dir) closedir(dir);
    return count;
}

static char *path_of(const char *folder, const char *name, const char *file) {
    static char path[320];
    strcpy(path, folder);
    strcat(path, name);
    return strcat(path, file);
}

/* One processor that is present: switched on, unless it is. Those that are on already have it at "1", the first has no such file. */
static int switch_on_cpu(const char *name) {
    const char *path = path_of(CPUS, name, "/online");
    return *read_line(path) == '0' ? write_line(path, "1") : -1;
}

/* RCU's grace periods, of which what is plugged in costs some, until `write_line(EXPEDITED, "0")`; 0 when they are short already. */
static int hurry(void) {
    return *read_line(EXPEDITED) == '0' && !write_line(EXPEDITED, "1");
}

/*
 * cpus=COUNT, or cpus= to read it only. Each new processor makes the kernel rebuild its scheduling domains, and wait for an
 * RCU grace period; it takes 60 ms for one unless it is told to hurry.
 */
int op_cpus(char *value) {
    long long wanted = *value ? number(&value, 10) : 0, online;
    if (wanted < 0 || *value) return errno = EINVAL, -1;
    int hurries = wanted > 0 && hurry();
    for (long long end = now_ms() + WAIT_MS;;) {
        online = count_list(read_line(CPUS "online"));
        if (online >= wanted || now_ms() >= end) break;
        if (online < count_list(read_line(CPUS "present")) && each_numbered(CPUS, "cpu", switch_on_cpu) > 0) continue;
        poll(NULL, 0, LOOK_MS);
    }
    if (hurries) write_line(EXPEDITED, "0");
    say_result("cpus", NULL);
    say_number(online < 0 ? 0 : (unsigned long long)online);
    return 0;
}

/* How a block is switched on that the kernel does not switch on by itself. */
static const char *onlining(void) {
    return strcmp(read_line(ONLINING), MOVABLE) ? "online" : MOVABLE;
}

/* One memory block: switched on, unless it is. A kernel that does so by itself (memhp_default_state) is waited for. */
static int switch_on_block(const char *name) {
    const char *path = path_of(BLOCKS, name, "/state");
    if (!strcmp(read_line(path), "offline")) {
        const char *how = onlining();
        path = path_of(BLOCKS, name, "/state");
        write_line(path, how);
    }
    return strcmp(read_line(path), "online");
}

/* memory=KIB, or memory= to read it only: what the blocks that are on hold, and what of it programs can have */
int op_memory(char *value) {
    struct sysinfo info;
    char *size;
    long long wanted = *value ? number(&value, 10) : 0, kib, block_kib;
    unsigned long seen;
    if (wanted < 0 || *value) return errno = EINVAL, -1;
    int hurries = wanted > 0 && hurry();
    for (long long end = now_ms() + WAIT_MS;;) {
        if (sysinfo(&info)) return -1;
        seen = info.totalram;
        block_kib = (long long)(strtoull(read_line(BLOCKS "block_size_bytes"), &size, 16) / 1024);
        kib = block_kib * each_numbered(BLOCKS, "memory", switch_on_block);
        if (kib >= wanted || now_ms() >= end) break;
        for (long long next = now_ms() + BLOCKS_LOOK_MS; now_ms() < next && info.totalram == seen;) {
            poll(NULL, 0, LOOK_MS);
            if (sysinfo(&info)) return -1;
        }
    }
    if (hurries) write_line(EXPEDITED, "0");
    if (sysinfo(&info)) return -1;
    say_result("memory", NULL);
    say_number((unsigned long long)kib);
    say_char(',');
    say_number((unsigned long long)info.totalram * info.mem_unit / 1024);
    return 0;
}

/*
 * udev=hold or udev=go: systemd's udev looks at whatever is plugged in, by programs of its own for each. It stands still between
 * the two, and then sees to all of it. Says what it was told, or "none" in a guest that has no such service.
 */
int op_udev(char *value) {
    int holds = !strcmp(value, "hold");
    if (!holds && strcmp(value, "go")) return errno = EINVAL, -1;
    say_result("udev", NULL);
    say(write_line(UDEV_FREEZE, holds ? "1" : "0") ? "none" : value);
    return 0;
}

/* onlining=online_movable or online: what becomes of memory that is plugged in from now on */
int op_onlining(char *value) {
    if (strcmp(value, MOVABLE) && strcmp(value, "online")) return errno = EINVAL, -1;
    if (write_line(ONLINING, value)) return -1;
    say_result("onlining", NULL);
    say(read_line(ONLINING));
    return 0;
}

/* A line of /proc/meminfo, by its name and colon; -1 without one. */
long long meminfo_kib(const char *name) {
    char line[128];
    long long kib = -1;
    FILE *meminfo = fopen("/proc/meminfo", "re");
    while (meminfo && kib < 0 && fgets(line, sizeof line, meminfo)) {
        if (strncmp(line, name, strlen(name))) continue;
        char *at = line + strlen(name) + strspn(line + strlen(name), " ");
        kib = number(&at, 10);
    }
    if (meminfo) fclose(meminfo);
    return kib;
}

static void stop_moving(int signal) {
    (void)signal; /* it only has to interrupt */
}

/*
 * offline=ADDRESS,BYTES: switches all memory blocks of that range off; the kernel moves what programs have there. It tries for
 * ever where there is no room for that, so that this looks first, and a signal ends it. All or none.
 */
int op_offline(char *value) {
    long long first = number(&value, 10), bytes = *value++ == ',' ? number(&value, 10) : -1;
    long long block = (long long)strtoull(read_line(BLOCKS "block_size_bytes"), NULL, 16), off = 0;
    char name[32];
    int failure = 0;
    if (first < 0 || bytes <= 0 || *value || block <= 0 || first % block || bytes % block) return errno = EINVAL, -1;
    if (meminfo_kib("MemAvailable:") < bytes / 1024) return errno = ENOMEM, -1;
    go_in_line();
    struct sigaction interrupt = {.sa_handler = stop_moving}, before;
    struct itimerval timer = {.it_value.tv_sec = OFF_SECONDS, .it_interval.tv_sec = 1}, none = {0};
    sigaction(SIGALRM, &interrupt, &before);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (; off < bytes && !failure; off += block) {
        snprintf(name, sizeof name, "memory%lld", (first + bytes - off) / block - 1);
        const char *state = path_of(BLOCKS, name, "/state");
        if (!strcmp(read_line(state), "offline")) continue; /* by a call that was given up */
        if (write_line(state, "offline")) failure = errno == EINTR ? ETIMEDOUT : errno;
    }
    setitimer(ITIMER_REAL, &none, NULL);
    sigaction(SIGALRM, &before, NULL);
    while (failure && off > 0) {
        off -= block;
        snprintf(name, sizeof name, "memory%lld", (first + bytes - off) / block - 1);
        switch_on_block(name);
    }
    come_first();
    if (failure) return errno = failure, -1;
    say_result("offline", NULL);
    say_number((unsigned long long)off);
    return 0;
}

/* A number that the kernel says of a disk or partition, or -1. */
long long device_fact(const char *device, const char *file) {
    char *text = (char *)read_line(path_of("/sys/class/block/", device, file));
    return number(&text, 10);
}

/* Waits until a device has so many bytes, and returns how many it has; -1 without one. The kernel counts sectors of 512 bytes. */
long long await_device(const char *device, long long wanted) {
    for (long long end = now_ms() + WAIT_MS;; poll(NULL, 0, LOOK_MS)) {
        long long sectors = device_fact(device, "/size");
        if (sectors < 0) return -1;
        if (sectors * 512 >= wanted || now_ms() >= end) return sectors * 512;
    }
}

/*
 * disk=DEVICE,MOUNTPOINT,BYTES: waits until the device has as many bytes, and lets the file system on it have them all.
 * Without BYTES it only reads. The answer has the device's bytes, and those of the file system that are not its own tables.
 */
int op_disk(char *value) {
    struct statfs now;
    char *device = field(&value), *mount_point = field(&value);
    long long wanted = value ? number(&value, 10) : 0, bytes, uncounted = 0;
    int is_name = *device && strlen(device) < 32 && !strchr(device, '/');
    if (!is_name || *mount_point != '/' || wanted < 0 || (value && *value)) return errno = EINVAL, -1;
    bytes = await_device(device, wanted);
    if (bytes < 0) return errno = ENODEV, -1;
    if (wanted && bytes >= wanted && (uncounted = grow_file_system(mount_point, bytes)) < 0) return -1;
    if (statfs(mount_point, &now)) return -1;
    say_result("disk", device);
    say_number((unsigned long long)bytes);
    say_char(',');
    say_number((unsigned long long)now.f_blocks * (unsigned long long)now.f_bsize + (unsigned long long)uncounted);
    return 0;
}
