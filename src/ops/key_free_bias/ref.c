#include "ops/ref.h"

REF_DECLARE(key_free_bias);
REF_DECLARE(key_free_bias_grad);

void REF(key_free_bias)(const Call *c, Worker *w)
{
    (void)w;
    const real *q = c->in[0].data, *v = c->in[1].data;
    real *bias = c->out[0].data;
    int64_t n = c->in[1].columns;
    for (int64_t i = 0; q && i < n; i++)
        bias[i] = q[i];
    bias += q ? n : 0;
    for (int64_t i = 0; i < n; i++) {
        bias[i] = 0;
        bias[n + i] = v[i];
    }
}

/* in: dbias, v_bias for its length; out: dq_bias, dv_bias */
void REF(key_free_bias_grad)(const Call *c, Worker *w)
{
    (void)w;
    int64_t n = c->in[1].columns;
    const real *bias = c->in[0].data, *end = bias + c->in[0].columns - n;
    for (int part = 0; part < 2; part++) {
        real *to = c->out[part].data;
        for (int64_t i = 0; to && i < n; i++)
            ref_put(&to[i], part ? end[i] : bias[i], call_accumulates(c, part));
    }
}
