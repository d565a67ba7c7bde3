#include "ops/affine/work.h"
#include "ops/row.h"

CPU_DECLARE(affine_relu);
CPU_DECLARE(affine_relu_grad);

/* What is no number stays none. */
static Vec where_above(Vec y, Vec v)
{
    return vec_pick(y <= vec_set(0), (Vec){0}, v);
}

void CPU(affine_relu)(const Call *c, Worker *w)
{
    const float *gamma = c->in[1].data, *beta = c->in[2].data;
    int64_t n = c->in[0].columns;
    for (Span s; span_next(w, tile_rows(n), c->in[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++)
            for (int64_t i = 0; i < n; i += LANES) {
                Vec y = vec_read(gamma + i, n - i) * vec_read((const float *)c->in[0].data + row * n + i, n - i) +
                        vec_read(beta + i, n - i);
                vec_write((float *)c->out[0].data + row * n + i, where_above(y, y), n - i);
            }
}

/* One row. sums, when not NULL: what is added to dgamma, then to dbeta. */
static void row_gradient(const Call *c, int64_t row, float *sums)
{
    const float *dy = c->in[0].data, *x = c->in[1].data, *gamma = c->in[2].data, *beta = c->in[3].data;
    float *dx = c->out[0].data;
    int64_t n = c->in[1].columns;
    for (int64_t i = 0; i < n; i += LANES) {
        Vec v = vec_read(x + row * n + i, n - i), g = vec_read(gamma + i, n - i);
        Vec d = where_above(g * v + vec_read(beta + i, n - i), vec_read(dy + row * n + i, n - i));
        if (sums) {
            vec_put(sums + i, d * v, n - i, true);
            vec_put(sums + n + i, d, n - i, true);
        }
        if (dx)
            vec_put(dx + row * n + i, d * g, n - i, call_accumulates(c, 0));
    }
}

void CPU(affine_relu_grad)(const Call *c, Worker *w)
{
    enum { SLICE = 64 };
    int64_t n = c->in[1].columns, rows = c->in[1].rows;
    bool learns = c->out[1].data || c->out[2].data;
    for (Span s; span_next(w, AFFINE_TILE, rows, &s);) {
        float *sums = learns ? (float *)c->work + s.first / AFFINE_TILE * 2 * n : NULL;
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
                partials_add((const float *)c->work + (out - 1) * n, pieces(rows, AFFINE_TILE), 2 * n, s, c->out[out].data,
                             call_accumulates(c, out));
}
