#include "ops/ref.h"
#include "ops/weighted_sum/attr.h"

REF_DECLARE(weighted_sum);

void REF(weighted_sum)(const Call *c, Worker *w)
{
    (void)w;
    const WeightedSumAttr *attr = c->attr;
    const real *terms = c->in[0].data;
    double sum = 0;
    for (int i = 0; i < attr->count; i++)
        sum += attr->weights[i] * terms[i];
    *(real *)c->out[0].data = (real)sum;
}
