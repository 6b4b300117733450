/* What the parts of substrate-session share: a program that a session runs, and the outlets to the host. */
#ifndef SUBSTRATE_SESSION_H
#define SUBSTRATE_SESSION_H

#include <stddef.h>
#include <sys/types.h>

/* The numbers of PROTOCOL.md, which lib/clone/session/frames.ts has as well. */
#define HEADER_BYTES 7
#define PAYLOAD_MAX 65536
#define SESSIONS_MAX 16
#define STDIN_WINDOW 65536
#define OUTPUT_WINDOW 262144

/* What the host is told when a program could not be started: which step failed. */
enum failed_step { FAILED_PROGRAM = 1, FAILED_FOLDER, FAILED_RESOURCES };

struct start {
    int is_tty;
    unsigned short columns, rows;
    char *folder;
    char **argv, **env;
};

struct program {
    pid_t pid;
    int is_tty;
    /* Says why the program could not be started; its end says that it could. */
    int report;
    int input;
    /* stdout and stderr, or the terminal and nothing; -1 when it has ended. */
    int output[2];
};

/* 0, or an errno: then there is nothing of it. */
int program_start(struct program *program, const struct start *start);
void program_resize(const struct program *program, unsigned short columns, unsigned short rows);
/* To the foreground of its terminal, or to its own process group. */
void program_signal(const struct program *program, int signal);
/* To all that it has started and that has not left its session. Returns how many those are, itself not counted. */
int program_signal_all(const struct program *program, int signal);
/* Where the terminal's user would press it. */
unsigned char program_end_character(const struct program *program);

#endif
