/*
 * Gives a forked QEMU descriptors of its own. A fork shares what is behind them with its parent: what the one writes wakes the
 * other, and both serve one socket. So each is replaced at its number by one of the same kind:
 *
 *  - a file in the old directory by that of the same name in the new one;
 *  - a listening socket by one of the same name in the new directory, and a connected one by one whose other end is closed;
 *  - an event counter by one that has something to tell, since what the old one had may have been read already;
 *  - an epoll by an empty one: QEMU makes one for each of its loops, and uses it from 64 descriptors on.
 *
 * What is only read, or mapped, stays: the substrate's RAM and disk. So does a signal descriptor, which has whoever reads it see
 * signals of their own. Any other object of the kernel's without a name (a timer, an io_uring) keeps the process from being
 * forked: two that share it would get in each other's way. It runs in a signal handler, so that nothing here allocates.
 */
#define _GNU_SOURCE
#include "relocate.h"

#include "listing.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH_CAP 4096
#define STATUS_FLAGS (O_ACCMODE | O_APPEND | O_DIRECT | O_DSYNC | O_NONBLOCK)

static struct place old, new;

/* The part of a path that is below a directory, or NULL. */
static const char *below(const char *path, const char *dir) {
    size_t length = strlen(dir);
    return strncmp(path, dir, length) == 0 && path[length] == '/' ? path + length : NULL;
}

static int join(char *target, size_t cap, const char *dir, const char *rest) {
    if (strlen(dir) + strlen(rest) >= cap) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(target, dir);
    strcat(target, rest);
    return 0;
}

/* A fork of a paused QEMU has none open, but that a peer may have just closed. */
static int dead_socket(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return -1;
    close(pair[1]);
    return pair[0];
}

static int listening_socket(const char *rest) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (join(address.sun_path, sizeof address.sun_path, new.sockets, rest) < 0) return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    mode_t usual = umask(0177);
    int error = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0 ? errno : 0;
    umask(usual);
    if (error == 0) return fd;
    close(fd);
    errno = error;
    return -1;
}

/* Returns what is to be in a socket's place, -1 with errno, or `fd` itself where it may stay. */
static int other_socket(int fd) {
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address - 1;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return -1;
    if (address.sun_family != AF_UNIX || length <= offsetof(struct sockaddr_un, sun_path)) return fd;
    const char *rest = below(address.sun_path, old.sockets);
    if (!rest) return fd;
    int is_listening = 0;
    length = sizeof is_listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &length) < 0) return -1;
    return is_listening ? listening_socket(rest) : dead_socket();
}

static int other_file(const char *rest, int status) {
    char path[PATH_CAP];
    if (join(path, sizeof path, new.dir, rest) < 0) return -1;
    return open(path, (status & STATUS_FLAGS) | O_CLOEXEC | O_NOFOLLOW);
}

static int replacement(int fd, const char *what, int status) {
    const char *rest = below(what, old.dir);
    if (rest) return other_file(rest, status);
    if (strncmp(what, "socket:", 7) == 0) return other_socket(fd);
    if (strcmp(what, "anon_inode:[eventfd]") == 0) return eventfd(1, EFD_CLOEXEC);
    if (strcmp(what, "anon_inode:[eventpoll]") == 0) return epoll_create1(EPOLL_CLOEXEC);
    if (strncmp(what, "anon_inode:", 11) != 0 || strcmp(what, "anon_inode:[signalfd]") == 0) return fd;
    errno = ENOTSUP;
    return -1;
}

static void append_number(char *text, int number) {
    char digits[12];
    int at = sizeof digits - 1;
    digits[at] = 0;
    do digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    strcat(text, digits + at);
}

static int replace(int fd) {
    char link[32] = "/proc/self/fd/", what[PATH_CAP];
    append_number(link, fd);
    if (fd <= STDERR_FILENO) return 0;
    ssize_t length = readlink(link, what, sizeof what - 1);
    if (length < 0) return -1;
    what[length] = 0;
    int flags = fcntl(fd, F_GETFD), status = fcntl(fd, F_GETFL);
    int other = replacement(fd, what, status);
    if (other < 0) return -1;
    if (other == fd) return 0;
    int is_done = fcntl(other, F_SETFL, status) == 0 && dup3(other, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0) == fd;
    int error = errno;
    close(other);
    errno = error;
    return is_done ? 0 : -1;
}

int relocate(const struct place *from, const struct place *to) {
    old = *from;
    new = *to;
    return each_number("/proc/self/fd", replace);
}
