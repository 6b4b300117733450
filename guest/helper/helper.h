/* What the parts of substrate-helper share: reading a request's values, writing its answer, and the operations. */
#ifndef SUBSTRATE_HELPER_H
#define SUBSTRATE_HELPER_H

#include <stddef.h>

/* The answer under way. What does not fit is cut off. */
void say_char(char c);
void say(const char *text);
void say_number(unsigned long long value);
void say_hex(const unsigned char *bytes, size_t length);
void say_result(const char *operation, const char *thing);

long long number(char **text, int base);
int hex_bytes(const char *text, unsigned char *bytes, size_t length, char separator);
char *field(char **rest);

/* Each operation takes its value, says its result and returns 0, or sets errno and returns -1. */
int op_mac(char *value);
int op_ipv4(char *value);
int op_ipv6(char *value);
int op_cpus(char *value);
int op_memory(char *value);
int op_udev(char *value);
int op_onlining(char *value);
int op_offline(char *value);
int op_disk(char *value);
int op_partition(char *value);
int op_http(char *value);

void open_network(void);
void come_first(void);
void go_in_line(void);
long long meminfo_kib(const char *name);

/* Of disks and partitions, which are named as in /sys/class/block: see resources.c and filesystems.c. */
long long device_fact(const char *device, const char *file);
long long await_device(const char *device, long long wanted);
long long grow_file_system(const char *mount_point, long long bytes);

#endif
