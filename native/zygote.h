/* See zygote.c. */
#pragma once

#include "relocate.h"

#include <stddef.h>

/* What a zygote is asked to make. */
struct fork_order {
    const char *log;
    struct place place;
    const char *name; /* QEMU's `-name guest=`. */
    const char *uuid;
    const char *text; /* Of the command line, behind the program's name. */
    size_t text_length;
};

#define FORK_NAMES 5 /* The strings of a fork_order before its text: log, directory, sockets, name, UUID. */
#define FORK_SIGNAL 51

/* What it answers. */
struct fork_result {
    int pid;   /* 0: there is none. */
    int error; /* errno, also of a child that has ended because of it. */
};

/*
 * To be called by the one thread of a program that is to become a zygote, before it begins: from then on it takes orders from
 * `channel`, a SOCK_SEQPACKET, on FORK_SIGNAL. Returns -1 with errno where that is not possible.
 */
int zygote_begin(int channel, const struct place *place, void (*show)(const char *text, size_t length));
