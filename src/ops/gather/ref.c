#include "ops/ref.h"
#include "ops/bf16.h"

REF_DECLARE(gather);
REF_DECLARE(gather_grad);

/* Number i of REAL or bf16 ones. */
static double number(const Tensor *t, int64_t i)
{
    if (t->dtype == DTYPE_BF16)
        return bf16_to_float(((const uint16_t *)t->data)[i]);
    return ((const real *)t->data)[i];
}

static void put(const Tensor *t, int64_t i, double value, bool accumulate)
{
    if (t->dtype == DTYPE_BF16)
        ((uint16_t *)t->data)[i] = bf16_from_float((float)(accumulate ? number(t, i) + value : value));
    else
        ref_put((real *)t->data + i, value, accumulate);
}

void REF(gather)(const Call *c, Worker *w)
{
    (void)w;
    int64_t n = c->out[0].columns;
    const int32_t *index = c->in[1].data, *place = c->in[4].data;
    const Tensor *table = &c->in[3];
    for (int64_t row = 0; row < c->out[0].rows; row++) {
        int64_t from = index ? index[row] : row, add = place ? place[row] : table->data ? row % table->rows : 0;
        const Tensor *x = from >= 0 ? &c->in[0] : &c->in[2];
        from = from >= 0 ? from : -1 - from;
        for (int64_t i = 0; i < n; i++)
            put(&c->out[0], row * n + i, number(x, from * n + i) + (table->data ? number(table, add * n + i) : 0), false);
    }
}

/* in: dy, index, inverse, place; out: dx, dtokens, dtable */
void REF(gather_grad)(const Call *c, Worker *w)
{
    (void)w;
    int64_t n = c->in[0].columns, rows = c->in[0].rows;
    const Tensor *dy = &c->in[0], *dx = &c->out[0];
    const int32_t *index = c->in[1].data, *inverse = c->in[2].data, *place = c->in[3].data;
    for (int64_t row = 0; dx->data && row < dx->rows; row++) {
        int64_t from = inverse ? inverse[row] : row;
        for (int64_t i = 0; i < n; i++)
            put(dx, row * n + i, from >= 0 ? number(dy, from * n + i) : 0, call_accumulates(c, 0));
    }
    for (int out = 1; out < 3; out++) {
        const Tensor *sums = &c->out[out];
        for (int64_t k = 0; sums->data && k < sums->rows; k++)
            for (int64_t i = 0; i < n; i++) {
                double sum = 0;
                for (int64_t row = 0; row < rows; row++) {
                    int64_t to = out == 1 ? -1 - (int64_t)index[row] : place ? place[row] : row % sums->rows;
                    if (to == k)
                        sum += number(dy, row * n + i);
                }
                put(sums, k * n + i, sum, call_accumulates(c, out));
            }
    }
}
