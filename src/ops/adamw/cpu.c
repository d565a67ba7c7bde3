#include "ops/adamw/attr.h"
#include "ops/grad_norm/grad_norm.h"
#include "ops/row.h"

CPU_DECLARE(adamw);

/* Elements offset.. of the buffers, all of one range. */
static void update(const Call *c, const AdamwRange *range, int64_t offset, int64_t count)
{
    const AdamwAttr *attr = c->attr;
    const float *g = (const float *)c->in[0].data + offset, *inputs = c->in[1].data, *status = c->in[2].data;
    float *weights = (float *)c->out[0].data + offset, *m = (float *)c->out[1].data + offset,
          *v = (float *)c->out[2].data + offset;
    double rate = range->rate * inputs[ADAMW_RATE];
    float factor = status[STATUS_FACTOR], decay = (float)(rate * range->decay),
          step = (float)(rate / inputs[ADAMW_CORRECTION1]), scale = (float)(1 / (double)inputs[ADAMW_CORRECTION2]),
          eps = (float)attr->eps, keep1 = (float)attr->beta1, keep2 = (float)attr->beta2, take1 = (float)(1 - attr->beta1),
          take2 = (float)(1 - attr->beta2);
    for (int64_t i = 0; i < count; i += LANES) {
        int64_t some = count - i;
        Vec gradient = vec_read(g + i, some) * factor, w = vec_read(weights + i, some);
        Vec first = keep1 * vec_read(m + i, some) + take1 * gradient;
        Vec second = keep2 * vec_read(v + i, some) + take2 * gradient * gradient;
        /* w - (change) and not w (1 - decay): 1 - 1e-6 has lost most of its digits in f32. */
        Vec change = decay * w + step * first / (vec_sqrt(second * scale) + eps);
        vec_write(m + i, first, some);
        vec_write(v + i, second, some);
        vec_write(weights + i, w - change, some);
    }
}

void CPU(adamw)(const Call *c, Worker *worker)
{
    const AdamwAttr *attr = c->attr;
    const float *status = c->in[2].data;
    if (status[STATUS_FINITE] == 0)
        return;
    int64_t total = 0;
    for (int k = 0; k < attr->range_count; k++)
        total += attr->ranges[k].count;
    /* Tiles are cut from the ranges laid end to end; `before` elements lie in those before `range`. */
    const AdamwRange *range = attr->ranges;
    int64_t before = 0;
    for (Span s; span_next(worker, TILE_FLOATS, total, &s);)
        for (int64_t at = s.first; at < s.end;) {
            if (at < before) {
                range = attr->ranges;
                before = 0;
            }
            while (at >= before + range->count)
                before += range++->count;
            int64_t count = least(s.end, before + range->count) - at;
            update(c, range, range->offset + at - before, count);
            at += count;
        }
}
