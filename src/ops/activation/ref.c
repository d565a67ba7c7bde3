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
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++) {
        double x = ref_get(&c->in[1], i);
        ref_set(&c->out[0], i, ref_get(&c->in[0], i) * ref_activation_slope(x, attr->kind), call_accumulates(c, 0));
        if (c->out[1].data)
            ref_set(&c->out[1], i, ref_activation(x, attr->kind), false);
    }
}
