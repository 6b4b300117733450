/* Directories of which the names are numbers, read without the C library, which allocates: for signal handlers. */
#pragma once

/* Calls `each` for every number below /proc/self/`name`, until that returns less than 0. Returns -1 with errno then, or where it cannot be read. */
int each_number(const char *path, int (*each)(int number));
