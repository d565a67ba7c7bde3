#include "ops/layer_norm/layer_norm.h"
#include "ops/layer_norm/work.h"
#include "ops/row.h"

CPU_DECLARE(layer_norm);
CPU_DECLARE(layer_norm_grad);

void CPU(layer_norm)(const Call *c, Worker *w)
{
    const LayerNormAttr *attr = c->attr;
    const float *gamma = c->in[1].data, *beta = c->in[2].data;
    float *stats = c->out[1].data;
    int64_t n = c->in[0].columns;
    for (Span s; span_next(w, tile_rows(n), c->in[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            const float *x = (const float *)c->in[0].data + row * n;
            float *y = (float *)c->out[0].data + row * n;
            float mean = row_mean(x, n), inverse = 1.0f / sqrtf(row_spread(x, n, mean) / (float)n + (float)attr->eps);
            for (int64_t i = 0; i < n; i += LANES) {
                Vec hat = (vec_read(x + i, n - i) - mean) * inverse;
                vec_write(y + i, hat * vec_read(gamma + i, n - i) + vec_read(beta + i, n - i), n - i);
            }
            if (stats) {
                stats[2 * row] = mean;
                stats[2 * row + 1] = inverse;
            }
        }
}

/* One row, with xhat = (x - mean) / deviation and g = dy gamma: dx = (g - mean(g) - xhat mean(g xhat)) / deviation. sums, when
 * not NULL: what is added to dgamma, then to dbeta. */
static void row_gradient(const Call *c, int64_t row, float *sums)
{
    int64_t n = c->in[0].columns;
    const float *dy = (const float *)c->in[0].data + row * n, *x = (const float *)c->in[1].data + row * n,
                *stats = (const float *)c->in[2].data + 2 * row, *gamma = c->in[3].data;
    float mean = stats[0], inverse = stats[1];
    Vec sum = {0}, product = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        Vec d = vec_read(dy + i, n - i), hat = (vec_read(x + i, n - i) - mean) * inverse;
        Vec g = d * vec_read(gamma + i, n - i);
        sum += g;
        product += g * hat;
        if (sums) {
            vec_put(sums + i, d * hat, n - i, true);
            vec_put(sums + n + i, d, n - i, true);
        }
    }
    if (!c->out[0].data)
        return;
    float *dx = (float *)c->out[0].data + row * n, first = vec_sum(sum) / (float)n, second = vec_sum(product) / (float)n;
    for (int64_t i = 0; i < n; i += LANES) {
        Vec hat = (vec_read(x + i, n - i) - mean) * inverse;
        Vec v = vec_read(dy + i, n - i) * vec_read(gamma + i, n - i) - first - hat * second;
        vec_put(dx + i, v * inverse, n - i, call_accumulates(c, 0));
    }
}

void CPU(layer_norm_grad)(const Call *c, Worker *w)
{
    enum { SLICE = 64 };
    int64_t n = c->in[0].columns, rows = c->in[0].rows;
    bool learns = c->out[1].data || c->out[2].data;
    for (Span s; span_next(w, LAYER_NORM_TILE, rows, &s);) {
        float *sums = learns ? (float *)c->work + s.first / LAYER_NORM_TILE * 2 * n : NULL;
        if (sums)
            memset(sums, 0, (size_t)(2 * n) * sizeof *sums);
        for (int64_t row = s.first; row < s.end; row++)
            row_gradient(c, row, sums);
    }
    if (!learns)
        return;
    worker_sync(w);
    for (Span s; span_next(w, SLICE, n, &s);)
        for (int out = 1; out < 3; out++)
            if (c->out[out].data)
                partials_add((const float *)c->work + (out - 1) * n, pieces(rows, LAYER_NORM_TILE), 2 * n, s, c->out[out].data,
                             call_accumulates(c, out));
}
