/* fork() for a process with threads: see threads.c. */
#pragma once

/* To be called by a program's first thread, before there is another. Returns -1 with errno where it cannot work. */
int threads_prepare(void);

/*
 * To be called by the first thread, also in a signal handler. Returns the child's PID, 0 in the child, or -1 with errno. The
 * child is the caller's sibling: it has the same parent. Its other threads stand still until threads_resume.
 */
int threads_fork(void);
void threads_resume(void);
