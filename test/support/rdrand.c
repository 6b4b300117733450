/* Prints what the processor's generator of random numbers says, for the tests of zygotes. */
#include <stdio.h>

int main(void) {
    for (int i = 0; i < 8; i++) {
        unsigned long long drawn = 0;
        unsigned char is_drawn = 0;
        while (!is_drawn) __asm__ volatile("rdrand %0; setc %1" : "=r"(drawn), "=qm"(is_drawn));
        printf("%llx\n", drawn);
    }
    return 0;
}
