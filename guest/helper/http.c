/* Whether a service of the guest serves: one question to 127.0.0.1. The answer's status is told, its content is not read. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "helper.h"

#define PATIENCE_S 5
#define HEAD "HTTP/1."

static int ask(int port, const char *path, char *status) {
    char text[1280];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    size_t got = 0;
    int failed = length >= (int)sizeof text || connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
                 send(fd, text, (size_t)length, MSG_NOSIGNAL) != length;
    /* "HTTP/1.1 200": the rest is of no interest. */
    while (!failed && got < 12) {
        ssize_t more = recv(fd, text + got, 12 - got, 0);
        if (more <= 0) {
            if (more == 0) errno = EPROTO;
            failed = 1;
        } else {
            got += (size_t)more;
        }
    }
    int error = errno;
    close(fd);
    errno = error;
    if (failed) return -1;
    if (strncmp(text, HEAD, sizeof HEAD - 1) != 0 || text[8] != ' ') {
        errno = EPROTO;
        return -1;
    }
    memcpy(status, text + 9, 3);
    return 0;
}

int op_http(char *value) {
    char status[4] = "";
    const char *port = field(&value);
    if (!value || *value != '/') {
        errno = EINVAL;
        return -1;
    }
    if (ask(atoi(port), value, status) != 0) return -1;
    say_result("http", NULL);
    say(status);
    return 0;
}
