#include "ops/ref.h"

REF_DECLARE(add);
REF_DECLARE(add_to);

void REF(add)(const Call *c, Worker *w)
{
    (void)w;
    const real *a = c->in[0].data, *b = c->in[1].data;
    real *y = c->out[0].data;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++)
        y[i] = a[i] + b[i];
}

void REF(add_to)(const Call *c, Worker *w)
{
    (void)w;
    const real *term = c->in[0].data;
    real *y = c->out[0].data;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++)
        ref_put(&y[i], term[i], call_accumulates(c, 0));
}
