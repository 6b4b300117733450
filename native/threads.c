/*
 * fork() for a process with threads.
 *
 * A fork has the calling thread only. The memory of all others is there, though, their stacks included. So each of them is stopped
 * by a signal before the fork: the kernel saves its registers in a frame on its stack. In the child a new thread is made
 * for each, which takes its place on that stack, with its thread pointer, and returns from the signal's handler. A system
 * call that it was in is begun again or ends with EINTR, as after any signal.
 *
 * DMTCP restores the threads of a checkpoint in this way (Ansel, Arya, Cooperman, IPDPS 2009).
 */
#define _GNU_SOURCE
#include "threads.h"

#include "listing.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Source: futex(2); musl has no header for it. */
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

#define STOP_SIGNAL 50 /* Real-time; neither QEMU nor a C library has a use for it. */
#define THREADS_CAP 64
#define STOP_TIMEOUT_MS 2000
#define FOOTHOLD 1024

struct thread {
    int tid;        /* 0: it has ended. */
    int stands;     /* In which round. */
    int *tid_place; /* Where the C library keeps it, and the kernel clears it when the thread ends. */
    uintptr_t pointer;
    void *registers[5]; /* Of __builtin_setjmp. */
    char foothold[FOOTHOLD] __attribute__((aligned(16))); /* The new thread's stack until it is on its own. */
};

static struct thread threads[THREADS_CAP];
static int thread_count, first, is_new;
static int *first_tid_place;
static int round, rounds, is_resumed; /* `round` is 0 while no thread is to stand still. */

static void futex_wait(int *word, int value, const struct timespec *timeout) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0);
}

static void set_and_wake(int *word, int value) {
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, THREADS_CAP, NULL, NULL, 0);
}

static void wait_while(int *word, int value) {
    while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value) futex_wait(word, value, NULL);
}

static int *own_tid_place(void) {
    int *place = NULL;
    return prctl(PR_GET_TID_ADDRESS, &place, 0, 0, 0) == 0 ? place : NULL;
}

/* In every thread but the first. Its original leaves when the round is over; its copy comes back here from nowhere. */
static void stand_still(int signal) {
    (void)signal;
    int saved_errno = errno, own = (int)syscall(SYS_gettid), known = __atomic_load_n(&round, __ATOMIC_SEQ_CST);
    struct thread *self = NULL;
    for (int i = 0; i < __atomic_load_n(&thread_count, __ATOMIC_SEQ_CST); i++)
        if (threads[i].tid == own) self = &threads[i];
    if (!self || known == 0) return; /* The signal comes late. */
    self->tid_place = own_tid_place();
    self->pointer = (uintptr_t)pthread_self();
    if (__builtin_setjmp(self->registers) == 0) {
        __atomic_store_n(&self->stands, known, __ATOMIC_SEQ_CST);
        wait_while(&round, known);
    } else {
        wait_while(&is_resumed, 0);
    }
    errno = saved_errno;
}

struct start {
    void *(*routine)(void *);
    void *argument;
};

/* QEMU blocks all signals in its threads. */
static void *run_stoppable(void *argument) {
    struct start start = *(struct start *)argument;
    uint64_t own = 1ULL << (STOP_SIGNAL - 1);
    syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &own, NULL, sizeof own);
    free(argument); /* After that: it may wait for a thread that stands still. */
    return start.routine(start.argument);
}

/* Whether the program is one whose threads must be stoppable. */
static int is_prepared;

__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                                                          void *(*routine)(void *), void *argument) {
    typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static create *real;
    if (!real) real = (create *)dlsym(RTLD_NEXT, "pthread_create");
    if (!real) return EAGAIN;
    struct start *start = is_prepared ? malloc(sizeof *start) : NULL;
    if (!start) return real(thread, attributes, routine, argument);
    *start = (struct start){routine, argument};
    int error = real(thread, attributes, run_stoppable, start);
    if (error) free(start);
    return error;
}

int threads_prepare(void) {
    struct sigaction action = {.sa_handler = stand_still, .sa_flags = SA_RESTART};
    first_tid_place = own_tid_place();
    if (!first_tid_place) return -1;
    if (sigaction(STOP_SIGNAL, &action, NULL) < 0) return -1;
    is_prepared = 1;
    return 0;
}

static int send_stop(int tid, int signal) { return (int)syscall(SYS_tgkill, first, tid, signal); }

/* Has a thread stand still that is not known yet. */
static int note(int tid) {
    if (tid == first) return 0;
    for (int i = 0; i < thread_count; i++)
        if (threads[i].tid == tid) return 0;
    if (thread_count == THREADS_CAP) {
        errno = E2BIG;
        return -1;
    }
    threads[thread_count].tid = tid;
    threads[thread_count].stands = 0;
    __atomic_store_n(&thread_count, thread_count + 1, __ATOMIC_SEQ_CST);
    is_new = 1;
    send_stop(tid, STOP_SIGNAL);
    return 0;
}

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether all that are known stand still. One that ends meanwhile takes no signal any more, and is none soon. */
static int all_stand(void) {
    for (int i = 0; i < thread_count; i++) {
        if (threads[i].tid == 0 || __atomic_load_n(&threads[i].stands, __ATOMIC_SEQ_CST) == round) continue;
        if (send_stop(threads[i].tid, 0) == 0) return 0;
        threads[i].tid = 0;
    }
    return 1;
}

/* A thread that still runs may make another: only when all stand and none is new are these all. */
static int stop_all(void) {
    const struct timespec moment = {0, 100000};
    const long until = now_ms() + STOP_TIMEOUT_MS;
    do {
        is_new = 0;
        if (each_number("/proc/self/task", note) < 0) return -1;
        while (!all_stand()) {
            if (now_ms() > until) {
                errno = ETIMEDOUT;
                return -1;
            }
            nanosleep(&moment, NULL);
        }
    } while (is_new);
    return 0;
}

static void take_place(struct thread *thread) { __builtin_longjmp(thread->registers, 1); }

/* As pthread_create does it, but for the stack: that of the thread whose copy this is. */
static int revive(struct thread *thread) {
#ifdef __x86_64__
    long result;
    register int *child_tid __asm__("r10") = thread->tid_place;
    register uintptr_t pointer __asm__("r8") = thread->pointer;
    register struct thread *copy __asm__("r12") = thread;
    register void (*land)(struct thread *) __asm__("r13") = take_place;
    const long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                       CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call *%%r13\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"((long)SYS_clone), "D"(flags), "S"(thread->foothold + FOOTHOLD), "d"(thread->tid_place),
                       "r"(child_tid), "r"(pointer), "r"(copy), "r"(land)
                     : "rcx", "r11", "memory");
    return result < 0 ? -1 : 0;
#else
    (void)thread;
    (void)take_place;
    errno = ENOSYS;
    return -1;
#endif
}

int threads_fork(void) {
    first = getpid();
    is_resumed = 0;
    __atomic_store_n(&thread_count, 0, __ATOMIC_SEQ_CST);
    if (++rounds == 0) rounds = 1;
    __atomic_store_n(&round, rounds, __ATOMIC_SEQ_CST);
    long pid = stop_all();
    if (pid == 0) {
        const long flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
        pid = syscall(SYS_clone, flags, NULL, NULL, first_tid_place, NULL);
        if (pid == 0) return 0;
    }
    int error = errno;
    set_and_wake(&round, 0);
    errno = error;
    return (int)pid;
}

void threads_resume(void) {
    for (int i = 0; i < thread_count; i++)
        if (threads[i].tid != 0 && revive(&threads[i]) < 0) _exit(1);
    round = 0; /* In this process there was none. */
    set_and_wake(&is_resumed, 1);
}
