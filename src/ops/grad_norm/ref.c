#include "ops/ref.h"
#include "ops/grad_norm/attr.h"

REF_DECLARE(grad_norm);

void REF(grad_norm)(const Call *c, Worker *w)
{
    (void)w;
    const GradNormAttr *attr = c->attr;
    const real *g = c->in[0].data, *loss = c->in[1].data;
    real *status = c->out[0].data;
    double sum = 0;
    for (int64_t i = 0; i < c->in[0].columns; i++)
        sum += (double)g[i] * g[i];
    double norm = sqrt(sum);
    status[STATUS_NORM] = (real)norm;
    status[STATUS_FACTOR] = (real)clip_factor(norm, attr->clip);
    status[STATUS_FINITE] = isfinite(norm) && isfinite(*loss);
}
