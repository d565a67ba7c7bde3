#include "ops/lars/attr.h"
#include "ops/row.h"

CPU_DECLARE(lars);

enum { PART = 1024 }; /* numbers that are summed in f32 */

static void squares(const float *g, const float *w, int64_t count, float decay, double *weight, double *slope)
{
    *weight = *slope = 0;
    for (int64_t first = 0; first < count; first += PART) {
        Vec ww = {0}, gg = {0};
        for (int64_t i = first; i < least(count, first + PART); i += LANES) {
            int64_t some = least(count, first + PART) - i;
            Vec v = vec_read(w + i, some), d = vec_read(g + i, some) + decay * v;
            ww += v * v;
            gg += d * d;
        }
        *weight += (double)vec_sum(ww);
        *slope += (double)vec_sum(gg);
    }
}

/* A range is one task: there are several heads, and each is small. */
void CPU(lars)(const Call *c, Worker *worker)
{
    const LarsAttr *attr = c->attr;
    const float *rate = c->in[1].data;
    for (int64_t k; (k = worker_next(worker, attr->range_count)) < attr->range_count;) {
        const LarsRange *range = &attr->ranges[k];
        const float *g = (const float *)c->in[0].data + range->offset;
        float *w = (float *)c->out[0].data + range->offset, *m = (float *)c->out[1].data + range->offset;
        float decay = (float)range->decay, keep = (float)attr->keep, step = (float)(range->rate * (double)*rate), factor = 1;
        if (range->adaptive) {
            double weight, slope;
            squares(g, w, range->count, decay, &weight, &slope);
            if (weight > 0 && slope > 0)
                factor = (float)(attr->trust * sqrt(weight / slope));
        }
        for (int64_t i = 0; i < range->count; i += LANES) {
            int64_t some = range->count - i;
            Vec v = vec_read(w + i, some);
            Vec moved = keep * vec_read(m + i, some) + factor * (vec_read(g + i, some) + decay * v);
            vec_write(m + i, moved, some);
            vec_write(w + i, v - step * moved, some);
        }
    }
}
