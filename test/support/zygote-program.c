/*
 * A program with threads that do what QEMU's do, for the tests of zygotes: one waits on a condition, one sleeps, one computes,
 * one reads an event counter. It has a file open for writing in its directory, and answers whoever connects to its socket.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 10000

/* As QEMU has them. */
const char *qemu_name = "original";
unsigned char qemu_uuid[16];
int qemu_uuid_parse(const char *text, unsigned char *uuid) { return strlen(text) == 36 ? (memcpy(uuid, text, 16), 0) : -1; }

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked = PTHREAD_COND_INITIALIZER, answered = PTHREAD_COND_INITIALIZER;
static int question, answer, event;
static volatile unsigned long slept, computed, events;
static __thread int own;

static void *waiter(void *argument) {
    own = (int)(intptr_t)argument;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (question == 0) pthread_cond_wait(&asked, &lock);
        answer = question + own;
        question = 0;
        pthread_cond_signal(&answered);
    }
}

static void *sleeper(void *argument) {
    const struct timespec moment = {0, 1000000};
    for (;; slept++) nanosleep(&moment, NULL);
    return argument;
}

static void *computer(void *argument) {
    double value = 1;
    for (;; computed++) {
        for (int i = 0; i < 100000; i++) value = value * 1.0000001 + 1e-9;
        if (value < 1) abort();
        free(malloc(100));
    }
    return argument;
}

static void *reader(void *argument) {
    uint64_t value;
    for (;;) {
        struct pollfd poller = {event, POLLIN, 0};
        poll(&poller, 1, -1);
        if (read(event, &value, sizeof value) == sizeof value) events += value;
    }
    return argument;
}

static int ask(int value) {
    pthread_mutex_lock(&lock);
    question = value;
    answer = 0;
    pthread_cond_signal(&asked);
    while (answer == 0) pthread_cond_wait(&answered, &lock);
    int got = answer;
    pthread_mutex_unlock(&lock);
    return got;
}

/* Arguments: the socket, the file, which is relative, and whether to have a timer, which cannot be forked. */
int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    void *(*routines[])(void *) = {waiter, sleeper, computer, reader};
    if (argc != 3 && argc != 4) return 2;
    if (argc == 4 && timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC) < 0) return 1;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), file = open(argv[2], O_RDWR | O_CREAT, 0600);
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (file < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1) < 0) return 1;
    sigset_t all, usual;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &usual);
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, routines[i], (void *)1000)) return 1;
    }
    pthread_sigmask(SIG_SETMASK, &usual, NULL);
    dprintf(STDOUT_FILENO, "ready\n");
    for (int count = 0;;) {
        struct pollfd poller = {listener, POLLIN, 0};
        if (poll(&poller, 1, -1) < 1) continue;
        int peer = accept(listener, NULL, NULL);
        if (peer < 0) continue;
        uint64_t one = 1;
        unsigned long before[] = {slept, computed, events};
        if (write(event, &one, sizeof one) < 0 || pwrite(file, qemu_name, strlen(qemu_name), 0) < 0) return 1;
        const struct timespec moment = {0, 1000000};
        for (int i = 0; i < PATIENCE_MS && (slept == before[0] || computed == before[1] || events == before[2]); i++)
            nanosleep(&moment, NULL);
        dprintf(peer, "{\"count\":%d,\"name\":\"%s\",\"answer\":%d,\"slept\":%d,\"computed\":%d,\"events\":%d}\n", count, qemu_name,
                ask(++count), slept > before[0], computed > before[1], events > before[2]);
        close(peer);
    }
}
