#include "ops/row.h"

CPU_DECLARE(scale_add);

void CPU(scale_add)(const Call *c, Worker *w)
{
    int64_t n = c->out[0].columns, rows = c->out[0].rows;
    const float *column = c->in[1].data, *group = c->in[2].data;
    int64_t per_group = group ? rows / c->in[2].columns : 1;
    for (Span s; span_next(w, tile_rows(n), rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            const float *z = (const float *)c->in[0].data + row * n;
            const float *residual = c->in[3].data ? (const float *)c->in[3].data + row * n : NULL;
            float *y = (float *)c->out[0].data + row * n, factor = group ? group[row / per_group] : 1.0f;
            for (int64_t i = 0; i < n; i += LANES) {
                Vec v = vec_read(z + i, n - i) * factor;
                if (column)
                    v *= vec_read(column + i, n - i);
                if (residual)
                    v += vec_read(residual + i, n - i);
                vec_write(y + i, v, n - i);
            }
        }
}
