#include "ops/ref.h"

REF_DECLARE(scale_add);

void REF(scale_add)(const Call *c, Worker *w)
{
    (void)w;
    int64_t n = c->out[0].columns, rows = c->out[0].rows;
    const real *column = c->in[1].data, *group = c->in[2].data, *residual = c->in[3].data;
    int64_t per_group = group ? rows / c->in[2].columns : 1;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < n; i++)
            ref_set(&c->out[0], row * n + i,
                    ref_get(&c->in[0], row * n + i) * (column ? column[i] : 1) * (group ? group[row / per_group] : 1) +
                        (residual ? residual[row * n + i] : 0),
                    false);
}
