/* Does time depend on what it must not? Run under valgrind's memcheck, to which memory that nobody
 * wrote is undefined: it names every branch and every address that depends on such memory. Values,
 * their exact lengths and which are null are made so here.
 *
 *     cc -O3 -I client/crypto/loop tests/native/constant_time.c -o constant_time
 *     valgrind --error-exitcode=9 ./constant_time         pads and unpads secrets: silent
 *     valgrind --error-exitcode=9 ./constant_time leak    the control: branches on one
 */

#include <stdlib.h>

#include "loop.c"

#define MOST 2048u

/* Of which the compiler does not know that nobody wrote it. */
static void *(*const volatile unwritten)(size_t) = malloc;

int main(int argc, char **argv)
{
    (void)argv;
    uint8_t *secret = unwritten(MOST), *padded = unwritten(MOST);
    uint64_t *length = unwritten(sizeof *length);
    int8_t *terminator = unwritten(1);
    volatile uint64_t sink = 0;

    if (!secret || !padded || !length || !terminator)
        return 1;
    for (uint64_t size = STEP; size <= MOST; size += STEP) {
        unpadded cell;
        /* as a UNIFORM block: the value may end anywhere; then with all but the last step filled */
        pad_cell(padded, size, secret, *length, 0, MOST, *terminator);
        pad_cell(padded, size, secret, *length, size - STEP, MOST, *terminator);
        /* at the end of what may be read */
        pad_cell(padded, size, secret + MOST - size + 5, *length, 0, size - 5, *terminator);
        cell = unpad_cell(padded, 0, size);
        sink += cell.length ^ cell.valid ^ cell.wrong;
        cell = unpad_cell(secret, size - STEP, size);
        sink += cell.length ^ cell.valid ^ cell.wrong;
    }
    for (unsigned each = 0; each < 8; each++)
        sink += mask_less(*length, each) ^ mask_nonzero(*length);
    if (argc > 1 && secret[7] == 7)
        sink++;
    free(secret);
    free(padded);
    free(length);
    free(terminator);
    return 0;
}
