#include "ops/ref.h"
#include "ops/upsample/work.h"

REF_DECLARE(upsample);
REF_DECLARE(upsample_grad);

void REF(upsample)(const Call *c, Worker *w)
{
    (void)w;
    const UpsampleAttr *a = c->attr;
    const real *x = c->in[0].data;
    real *y = c->out[0].data;
    int64_t n = c->out[0].columns, pixels = a->height * a->width;
    for (int64_t at = 0; at < c->out[0].rows; at++) {
        const real *from = x + at / pixels * a->rows * a->columns * n;
        UpsampleBetween v = upsample_between(at % pixels / a->width, a->rows, a->height),
                        h = upsample_between(at % a->width, a->columns, a->width);
        for (int64_t i = 0; i < n; i++) {
            double above = (1 - (double)h.share) * from[(v.first * a->columns + h.first) * n + i] +
                           (double)h.share * from[(v.first * a->columns + h.second) * n + i];
            double below = (1 - (double)h.share) * from[(v.second * a->columns + h.first) * n + i] +
                           (double)h.share * from[(v.second * a->columns + h.second) * n + i];
            y[at * n + i] = (real)((1 - (double)v.share) * above + (double)v.share * below);
        }
    }
}

void REF(upsample_grad)(const Call *c, Worker *w)
{
    (void)w;
    const UpsampleAttr *a = c->attr;
    const real *dy = c->in[0].data;
    real *dx = c->out[0].data;
    int64_t n = c->out[0].columns, tokens = a->rows * a->columns;
    for (int64_t token = 0; token < c->out[0].rows; token++)
        for (int64_t i = 0; i < n; i++) {
            int64_t row = token % tokens / a->columns, column = token % a->columns;
            double sum = 0;
            for (int64_t y = 0; y < a->height; y++)
                for (int64_t x = 0; x < a->width; x++) {
                    double weight = (double)upsample_weight(y, row, a->rows, a->height) *
                                    (double)upsample_weight(x, column, a->columns, a->width);
                    if (weight != 0)
                        sum += weight * dy[((token / tokens * a->height + y) * a->width + x) * n + i];
                }
            ref_put(&dx[token * n + i], sum, call_accumulates(c, 0));
        }
}
