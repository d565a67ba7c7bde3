#include "ops/ref.h"
#include "ops/pool/attr.h"

REF_DECLARE(pool);
REF_DECLARE(pool_grad);

void REF(pool)(const Call *c, Worker *w)
{
    (void)w;
    const PoolAttr *attr = c->attr;
    const real *x = c->in[0].data;
    real *y = c->out[0].data;
    int64_t n = c->out[0].columns;
    for (int64_t row = 0; row < c->out[0].rows; row++)
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t t = attr->first; t < attr->first + attr->count; t++)
                sum += x[(row * attr->tokens + t) * n + i];
            y[row * n + i] = (real)(sum / (double)attr->count);
        }
}

void REF(pool_grad)(const Call *c, Worker *w)
{
    (void)w;
    const PoolAttr *attr = c->attr;
    const real *dy = c->in[0].data;
    real *dx = c->out[0].data;
    int64_t n = c->out[0].columns;
    for (int64_t row = 0; row < c->in[0].rows; row++)
        for (int64_t t = 0; t < attr->tokens; t++) {
            bool inside = t >= attr->first && t < attr->first + attr->count;
            for (int64_t i = 0; i < n; i++)
                ref_put(&dx[(row * attr->tokens + t) * n + i], inside ? dy[row * n + i] / (double)attr->count : 0,
                        call_accumulates(c, 0));
        }
}
