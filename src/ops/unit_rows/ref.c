#include "ops/ref.h"
#include "ops/unit_rows/work.h"

REF_DECLARE(unit_rows);
REF_DECLARE(unit_rows_grad);

static double norm_of(const real *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return fmax(sqrt(sum), UNIT_ROWS_LEAST);
}

void REF(unit_rows)(const Call *c, Worker *w)
{
    (void)w;
    int64_t n = c->in[0].columns;
    for (int64_t row = 0; row < c->in[0].rows; row++) {
        const real *x = (const real *)c->in[0].data + row * n;
        double factor = ((const UnitRowsAttr *)c->attr)->length / norm_of(x, n);
        for (int64_t i = 0; i < n; i++)
            ((real *)c->out[0].data)[row * n + i] = (real)(factor * x[i]);
    }
}

/* dx = length / |x| (dy - x (x.dy) / |x|^2); where |x| is held at its least, y is linear and the second part is left out. */
void REF(unit_rows_grad)(const Call *c, Worker *w)
{
    (void)w;
    int64_t n = c->in[1].columns;
    for (int64_t row = 0; row < c->in[1].rows; row++) {
        const real *dy = (const real *)c->in[0].data + row * n, *x = (const real *)c->in[1].data + row * n;
        double norm = norm_of(x, n), along = 0;
        for (int64_t i = 0; i < n; i++)
            along += (double)dy[i] * x[i];
        double factor = ((const UnitRowsAttr *)c->attr)->length / norm, back = norm > UNIT_ROWS_LEAST ? along / norm / norm : 0;
        for (int64_t i = 0; i < n; i++)
            ref_put((real *)c->out[0].data + row * n + i, factor * (dy[i] - back * x[i]), call_accumulates(c, 0));
    }
}
