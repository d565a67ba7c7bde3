#include "ops/ref.h"
#include "ops/lars/attr.h"

REF_DECLARE(lars);

void REF(lars)(const Call *c, Worker *worker)
{
    (void)worker;
    const LarsAttr *attr = c->attr;
    const real *gradient = c->in[0].data, *rate = c->in[1].data;
    for (int k = 0; k < attr->range_count; k++) {
        const LarsRange *range = &attr->ranges[k];
        const real *g = gradient + range->offset;
        real *w = (real *)c->out[0].data + range->offset, *m = (real *)c->out[1].data + range->offset;
        double weight = 0, slope = 0;
        for (int64_t i = 0; i < range->count; i++) {
            double d = g[i] + range->decay * w[i];
            weight += (double)w[i] * w[i];
            slope += d * d;
        }
        double factor = range->adaptive && weight > 0 && slope > 0 ? attr->trust * sqrt(weight / slope) : 1;
        for (int64_t i = 0; i < range->count; i++) {
            m[i] = (real)(attr->keep * m[i] + factor * (g[i] + range->decay * w[i]));
            w[i] = (real)(w[i] - range->rate * *rate * m[i]);
        }
    }
}
