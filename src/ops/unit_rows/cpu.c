#include "ops/row.h"
#include "ops/unit_rows/work.h"

CPU_DECLARE(unit_rows);
CPU_DECLARE(unit_rows_grad);

static float row_product(const float *a, const float *b, int64_t n)
{
    Vec sum = {0};
    for (int64_t i = 0; i < n; i += LANES)
        sum += vec_read(a + i, n - i) * vec_read(b + i, n - i);
    return vec_sum(sum);
}

static float norm_of(const float *x, int64_t n)
{
    return fmaxf(sqrtf(row_product(x, x, n)), (float)UNIT_ROWS_LEAST);
}

void CPU(unit_rows)(const Call *c, Worker *w)
{
    int64_t n = c->in[0].columns;
    for (Span s; span_next(w, tile_rows(n), c->in[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            const float *x = (const float *)c->in[0].data + row * n;
            float *y = (float *)c->out[0].data + row * n;
            float factor = (float)((const UnitRowsAttr *)c->attr)->length / norm_of(x, n);
            for (int64_t i = 0; i < n; i += LANES)
                vec_write(y + i, factor * vec_read(x + i, n - i), n - i);
        }
}

void CPU(unit_rows_grad)(const Call *c, Worker *w)
{
    int64_t n = c->in[1].columns;
    for (Span s; span_next(w, tile_rows(n), c->in[1].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            const float *dy = (const float *)c->in[0].data + row * n, *x = (const float *)c->in[1].data + row * n;
            float *dx = (float *)c->out[0].data + row * n, norm = norm_of(x, n);
            float factor = (float)((const UnitRowsAttr *)c->attr)->length / norm;
            float back = norm > (float)UNIT_ROWS_LEAST ? row_product(dy, x, n) / norm / norm : 0;
            for (int64_t i = 0; i < n; i += LANES)
                vec_put(dx + i, factor * (vec_read(dy + i, n - i) - back * vec_read(x + i, n - i)), n - i,
                        call_accumulates(c, 0));
        }
}
