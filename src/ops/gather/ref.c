#include "ops/ref.h"

REF_DECLARE(gather);
REF_DECLARE(gather_grad);

void REF(gather)(const Call *c, Worker *w)
{
    (void)w;
    int64_t n = c->out[0].columns;
    const int32_t *index = c->in[1].data, *place = c->in[4].data;
    const real *tokens = c->in[2].data, *table = c->in[3].data;
    for (int64_t row = 0; row < c->out[0].rows; row++) {
        int64_t from = index ? index[row] : row;
        const real *x = from >= 0 ? (const real *)c->in[0].data + from * n : tokens + (-1 - from) * n;
        const real *add = table ? table + (place ? place[row] : row % c->in[3].rows) * n : NULL;
        real *y = (real *)c->out[0].data + row * n;
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] + (add ? add[i] : 0);
    }
}

/* in: dy, index, inverse, place; out: dx, dtokens, dtable */
void REF(gather_grad)(const Call *c, Worker *w)
{
    (void)w;
    int64_t n = c->in[0].columns, rows = c->in[0].rows;
    const real *dy = c->in[0].data;
    const int32_t *index = c->in[1].data, *inverse = c->in[2].data, *place = c->in[3].data;
    real *dx = c->out[0].data;
    for (int64_t row = 0; dx && row < c->out[0].rows; row++) {
        int64_t from = inverse ? inverse[row] : row;
        for (int64_t i = 0; i < n; i++)
            ref_put(&dx[row * n + i], from >= 0 ? dy[from * n + i] : 0, call_accumulates(c, 0));
    }
    for (int out = 1; out < 3; out++) {
        real *sums = c->out[out].data;
        for (int64_t k = 0; sums && k < c->out[out].rows; k++)
            for (int64_t i = 0; i < n; i++) {
                double sum = 0;
                for (int64_t row = 0; row < rows; row++) {
                    int64_t to = out == 1 ? -1 - (int64_t)index[row] : place ? place[row] : row % c->out[2].rows;
                    if (to == k)
                        sum += dy[row * n + i];
                }
                ref_put(&sums[k * n + i], sum, call_accumulates(c, out));
            }
    }
}
