#include "ops/activation/ref.h"

#include "ops/activation/activation.h"

REF_DECLARE(activation);
REF_DECLARE(activation_grad);

void REF(activation)(const Call *c, Worker *w)
{
    (void)w;
    const ActivationAttr *attr = c->attr;
    const real *x = c->in[0].data;
    real *y = c->out[0].data;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++)
        y[i] = (real)ref_activation(x[i], attr->kind);
}

void REF(activation_grad)(const Call *c, Worker *w)
{
    (void)w;
    const ActivationAttr *attr = c->attr;
    const real *dy = c->in[0].data, *x = c->in[1].data;
    real *dx = c->out[0].data;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++)
        ref_put(&dx[i], dy[i] * ref_activation_slope(x[i], attr->kind), call_accumulates(c, 0));
}
