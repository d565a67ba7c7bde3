/* How gather_grad cuts its rows. */
#ifndef LACUNA_OPS_GATHER_WORK_H
#define LACUNA_OPS_GATHER_WORK_H

#include <stdint.h>

/* Into how many spans of rows dy is cut, each with a partial sum of dtokens, (tokens, D) floats. Columns are cut too, so that a
 * few spans are enough work for many threads, and what a thread adds to stays in its cache. */
static inline int64_t gather_spans(int64_t rows, int64_t tokens)
{
    int64_t most = tokens > 16 ? 4 : 16, useful = rows / (4 * tokens) + 1;
    return useful < most ? useful : most;
}

/* The same on a GPU, where sums of tokens and of table rows are made alike: enough pieces of work for many blocks. */
static inline int64_t gather_cuda_spans(int64_t rows, int64_t keys)
{
    int64_t most = 512 / keys + 1, useful = rows / 256 + 1;
    return useful < most ? useful : most;
}

#endif
