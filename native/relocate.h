/* See relocate.c. */
#pragma once

struct place {
    const char *dir;     /* Of a VM's files. */
    const char *sockets; /* Of those that it listens on. */
};

/* Returns -1 with errno; what was done by then stays. */
int relocate(const struct place *from, const struct place *to);
