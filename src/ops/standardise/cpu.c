#include "ops/row.h"

CPU_DECLARE(standardise);

void CPU(standardise)(const Call *c, Worker *w)
{
    int64_t n = c->out[0].columns;
    for (Span s; span_next(w, tile_rows(n), c->out[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            const float *x = (const float *)c->in[0].data + row * n;
            float *y = (float *)c->out[0].data + row * n;
            float mean = row_mean(x, n), scale = 1.0f / sqrtf(row_spread(x, n, mean) / (float)(n - 1) + 1e-6f);
            for (int64_t i = 0; i < n; i += LANES)
                vec_write(y + i, (vec_read(x + i, n - i) - mean) * scale, n - i);
        }
}
