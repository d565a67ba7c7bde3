#include "ops/ref.h"
#include "ops/adamw/attr.h"
#include "ops/grad_norm/grad_norm.h"

REF_DECLARE(adamw);

void REF(adamw)(const Call *c, Worker *w)
{
    (void)w;
    const AdamwAttr *attr = c->attr;
    const real *g = c->in[0].data, *inputs = c->in[1].data, *status = c->in[2].data;
    real *weights = c->out[0].data, *m = c->out[1].data, *v = c->out[2].data;
    if (status[STATUS_FINITE] == 0)
        return;
    for (int k = 0; k < attr->range_count; k++) {
        const AdamwRange *range = &attr->ranges[k];
        double rate = range->rate * inputs[ADAMW_RATE];
        for (int64_t i = range->offset; i < range->offset + range->count; i++) {
            double gradient = (double)g[i] * status[STATUS_FACTOR];
            double kept = weights[i] * (1 - rate * range->decay);
            m[i] = (real)(attr->beta1 * m[i] + (1 - attr->beta1) * gradient);
            v[i] = (real)(attr->beta2 * v[i] + (1 - attr->beta2) * gradient * gradient);
            weights[i] = (real)(kept - rate / inputs[ADAMW_CORRECTION1] * m[i] /
                                           (sqrt(v[i] / (double)inputs[ADAMW_CORRECTION2]) + attr->eps));
        }
    }
}
