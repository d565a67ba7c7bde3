#include "ops/activation/ref.h"

#include "ops/activation/activation.h"

REF_DECLARE(activation);
REF_DECLARE(activation_grad);

void REF(activation)(const Call *c, Worker *w)
{
    (void)w;
    const ActivationAttr *attr = c->attr;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++)
        ref_set(&c->out[0], i, ref_activation(ref_get(&c->in[0], i), attr->kind), false);
}

void REF(activation_grad)(const Call *c, Worker *w)
{
    (void)w;
    const ActivationAttr *attr = c->attr;
    const Tensor *dy = &c->in[ACTIVATION_GRAD_DY], *x = &c->in[ACTIVATION_GRAD_X];
    const Tensor *dx = &c->out[ACTIVATION_GRAD_DX], *y = &c->out[ACTIVATION_GRAD_Y];
    real *sums = c->out[ACTIVATION_GRAD_SUMS].data;
    for (int64_t column = 0; column < dx->columns; column++) {
        double sum = 0;
        for (int64_t i = column; i < dx->rows * dx->columns; i += dx->columns) {
            double at = ref_get(x, i), value = ref_get(dy, i) * ref_activation_slope(at, attr->kind);
            ref_set(dx, i, value, call_accumulates(c, ACTIVATION_GRAD_DX));
            if (y->data)
                ref_set(y, i, ref_activation(at, attr->kind), false);
            sum += value;
        }
        if (sums)
            ref_put(&sums[column], sum, call_accumulates(c, ACTIVATION_GRAD_SUMS));
    }
}
