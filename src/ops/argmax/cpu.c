/* One pass for the largest number, and a search for where it first stands. */
#include "ops/row.h"

CPU_DECLARE(argmax);

static int32_t row_argmax(const float *x, int64_t n)
{
    if (x[0] != x[0])
        return 0; /* nothing is larger than what is not a number */
    Vec high = vec_set(x[0]);
    for (int64_t i = 0; i < n; i += LANES)
        high = vec_max(vec_pick(vec_first(least(LANES, n - i)), vec_read(x + i, n - i), vec_set(x[0])), high);
    float most = vec_largest(high);
    for (int64_t i = 0; i < n; i++)
        if (x[i] == most)
            return (int32_t)i;
    return 0;
}

void CPU(argmax)(const Call *c, Worker *w)
{
    const float *x = c->in[0].data, *weight = c->in[1].data;
    int32_t *column = c->out[0].data;
    int64_t n = c->in[0].columns;
    for (Span s; span_next(w, tile_rows(n), c->in[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++)
            column[row] = weight && weight[row] == 0 ? -1 : row_argmax(x + row * n, n);
}
