#include "ops/ref.h"

REF_DECLARE(affine_relu);
REF_DECLARE(affine_relu_grad);

void REF(affine_relu)(const Call *c, Worker *w)
{
    (void)w;
    const real *x = c->in[0].data, *gamma = c->in[1].data, *beta = c->in[2].data;
    int64_t n = c->in[0].columns;
    for (int64_t i = 0; i < c->in[0].rows * n; i++) {
        double y = (double)gamma[i % n] * x[i] + beta[i % n];
        ((real *)c->out[0].data)[i] = (real)(y > 0 || isnan(y) ? y : 0);
    }
}

void REF(affine_relu_grad)(const Call *c, Worker *w)
{
    (void)w;
    const real *dy = c->in[0].data, *x = c->in[1].data, *gamma = c->in[2].data, *beta = c->in[3].data;
    real *dx = c->out[0].data, *dgamma = c->out[1].data, *dbeta = c->out[2].data;
    int64_t n = c->in[1].columns;
    for (int64_t i = 0; i < n; i++) {
        double product = 0, sum = 0;
        for (int64_t at = i; at < c->in[1].rows * n; at += n) {
            double y = (double)gamma[i] * x[at] + beta[i], d = y > 0 || isnan(y) ? (double)dy[at] : 0;
            product += d * x[at];
            sum += d;
            if (dx)
                ref_put(&dx[at], d * gamma[i], call_accumulates(c, 0));
        }
        if (dgamma)
            ref_put(&dgamma[i], product, call_accumulates(c, 1));
        if (dbeta)
            ref_put(&dbeta[i], sum, call_accumulates(c, 2));
    }
}
