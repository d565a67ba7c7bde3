#include "ops/ref.h"
#include "ops/grad_norm/grad_norm.h"

REF_DECLARE(average);

void REF(average)(const Call *c, Worker *w)
{
    (void)w;
    const real *weights = c->in[0].data, *take = c->in[1].data, *status = c->in[2].data;
    real *to = c->out[0].data;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns && status[STATUS_FINITE] != 0; i++)
        to[i] = (real)(to[i] + (double)*take * ((double)weights[i] - to[i]));
}
