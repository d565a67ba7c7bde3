#include "ops/cross_entropy/work.h"
#include "ops/row.h"

CPU_DECLARE(cross_entropy);
CPU_DECLARE(cross_entropy_grad);

/* The largest number of a row, and the sum of e^(z - largest). */
static float row_exponentials(const float *z, int64_t n, float *most)
{
    Vec high = vec_set(z[0]), sum = {0};
    for (int64_t i = 0; i < n; i += LANES)
        high = vec_max(high, vec_pick(vec_first(least(LANES, n - i)), vec_read(z + i, n - i), vec_set(z[0])));
    *most = vec_largest(high);
    for (int64_t i = 0; i < n; i += LANES) {
        Vec e = vec_exp(vec_read(z + i, n - i) - *most);
        sum += vec_pick(vec_first(least(LANES, n - i)), e, (Vec){0});
    }
    return vec_sum(sum);
}

static float row_sum(const float *x, int64_t n)
{
    Vec sum = {0};
    for (int64_t i = 0; i < n; i += LANES)
        sum += vec_read(x + i, n - i);
    return vec_sum(sum);
}

/* Everything is taken from z - largest, so that large logits lose no digits. */
static double row_loss(const CrossEntropyAttr *attr, const float *z, const float *targets, int32_t label)
{
    int64_t n = attr->classes;
    float most, sum = row_exponentials(z, n, &most);
    double all = log((double)sum), loss = 0;
    if (targets) {
        for (int64_t i = 0; i < n; i++)
            loss += (double)targets[i] * (all - (double)(z[i] - most));
        return loss;
    }
    loss = (1 - attr->smoothing) * (all - (double)(z[label] - most));
    if (attr->smoothing > 0) {
        double rest = 0;
        for (int64_t i = 0; i < n; i++)
            rest += all - (double)(z[i] - most);
        loss += attr->smoothing / (double)n * rest;
    }
    return loss;
}

void CPU(cross_entropy)(const Call *c, Worker *w)
{
    const CrossEntropyAttr *attr = c->attr;
    const int32_t *labels = c->in[1].data;
    const float *targets = c->in[2].data, *scale = c->in[3].data;
    int64_t columns = c->in[0].columns, rows = c->in[0].rows, count = pieces(rows, CROSS_ENTROPY_TILE);
    double *partial = c->work;
    for (int64_t t; (t = worker_next(w, count)) < count;) {
        Span s = span_piece(t, CROSS_ENTROPY_TILE, rows);
        partial[t] = 0;
        for (int64_t row = s.first; row < s.end; row++)
            for (int64_t head = 0; head < columns && !(labels && labels[row] < 0); head += attr->classes)
                partial[t] += row_loss(attr, (const float *)c->in[0].data + row * columns + head,
                                       targets ? targets + row * attr->classes : NULL, labels ? labels[row] : 0);
    }
    worker_sync(w);
    if (w->thread > 0)
        return;
    double sum = 0;
    for (int64_t t = 0; t < count; t++)
        sum += partial[t];
    *(float *)c->out[0].data = (float)(sum * (double)*scale);
}

static void row_slope(const CrossEntropyAttr *attr, const float *z, const float *targets, int32_t label, float factor,
                      float *dz, bool add)
{
    int64_t n = attr->classes;
    float most, sum = row_exponentials(z, n, &most), share = (targets ? row_sum(targets, n) : 1) * factor / sum;
    float even = (float)(attr->smoothing / (double)n) * factor;
    for (int64_t i = 0; i < n; i += LANES) {
        Vec asked = targets ? vec_read(targets + i, n - i) * factor : vec_set(even);
        vec_put(dz + i, vec_exp(vec_read(z + i, n - i) - most) * share - asked, n - i, add);
    }
    if (!targets)
        dz[label] -= (float)(1 - attr->smoothing) * factor;
}

void CPU(cross_entropy_grad)(const Call *c, Worker *w)
{
    const CrossEntropyAttr *attr = c->attr;
    const int32_t *labels = c->in[1].data;
    const float *targets = c->in[2].data, *scale = c->in[3].data, *dloss = c->in[4].data;
    int64_t columns = c->in[0].columns;
    float factor = *scale * *dloss;
    bool add = call_accumulates(c, 0);
    for (Span s; span_next(w, tile_rows(columns), c->in[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            float *dz = (float *)c->out[0].data + row * columns;
            if (labels && labels[row] < 0) {
                if (!add)
                    memset(dz, 0, (size_t)columns * sizeof *dz);
                continue;
            }
            /* The gradient may lie where the logits are: a head is read whole before it is written. */
            for (int64_t head = 0; head < columns; head += attr->classes)
                row_slope(attr, (const float *)c->in[0].data + row * columns + head,
                          targets ? targets + row * attr->classes : NULL, labels ? labels[row] : 0, factor, dz + head, add);
        }
}
