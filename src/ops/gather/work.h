/* How gather_grad cuts its rows. */
#ifndef LACUNA_OPS_GATHER_WORK_H
#define LACUNA_OPS_GATHER_WORK_H

#include <stdint.h>

/* Rows of dy that make one partial sum of dtokens, (tokens, D) floats: so many that partial sums stay a small part of dy. */
static inline int64_t gather_tile_rows(int64_t tokens)
{
    return tokens > 16 ? 8 * tokens : 128;
}

#endif
