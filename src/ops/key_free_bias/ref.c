#include "ops/ref.h"

REF_DECLARE(key_free_bias);
REF_DECLARE(key_free_bias_grad);

void REF(key_free_bias)(const Call *c, Worker *w)
{
    (void)w;
    const real *q = c->in[0].data, *v = c->in[1].data;
    real *bias = c->out[0].data;
    int64_t n = c->in[0].columns;
    for (int64_t i = 0; i < n; i++) {
        bias[i] = q[i];
        bias[n + i] = 0;
        bias[2 * n + i] = v[i];
    }
}

void REF(key_free_bias_grad)(const Call *c, Worker *w)
{
    (void)w;
    const real *bias = c->in[0].data;
    int64_t n = c->in[0].columns / 3;
    for (int part = 0; part < 2; part++) {
        real *to = c->out[part].data;
        for (int64_t i = 0; to && i < n; i++)
            ref_put(&to[i], bias[2 * part * n + i], call_accumulates(c, part));
    }
}
