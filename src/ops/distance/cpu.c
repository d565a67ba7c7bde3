#include "ops/distance/attr.h"
#include "ops/row.h"

CPU_DECLARE(distance);
CPU_DECLARE(distance_grad);

/* 0 for e = 0, so that numbers after a row's end do not count. */
static inline Vec one(Vec e, DistanceKind kind, float beta)
{
    if (kind == DISTANCE_L2)
        return e * e;
    Vec size = vec_abs(e);
    return kind == DISTANCE_L1 ? size : vec_pick(size < beta, e * e * (0.5f / beta), size - 0.5f * beta);
}

static inline Vec slope(Vec e, DistanceKind kind, float beta)
{
    if (kind == DISTANCE_L2)
        return 2.0f * e;
    Vec sign = vec_pick(e > 0.0f, vec_set(1.0f), vec_pick(e < 0.0f, vec_set(-1.0f), (Vec){0}));
    return kind == DISTANCE_L1 ? sign : vec_pick(vec_abs(e) < beta, e * (1.0f / beta), sign);
}

static double rows_sum(const Call *c, Span rows)
{
    const DistanceAttr *attr = c->attr;
    const float *weight = c->in[2].data;
    int64_t n = c->in[0].columns;
    Vec sum = {0};
    for (int64_t row = rows.first; row < rows.end; row++) {
        if (weight && weight[row] == 0)
            continue;
        const float *pred = (const float *)c->in[0].data + row * n, *target = (const float *)c->in[1].data + row * n;
        Vec row_sum = {0};
        for (int64_t i = 0; i < n; i += LANES)
            row_sum += one(vec_read(pred + i, n - i) - vec_read(target + i, n - i), attr->kind, (float)attr->beta);
        sum += (weight ? weight[row] : 1.0f) * row_sum;
    }
    double total = 0;
    for (int k = 0; k < LANES; k++)
        total += sum[k];
    return total;
}

void CPU(distance)(const Call *c, Worker *w)
{
    const float *scale = c->in[3].data;
    double *partial = c->work;
    int64_t n = c->in[0].columns, rows = c->in[0].rows, count = pieces(rows, DISTANCE_TILE);
    /* Narrow rows: several partial sums at a time. */
    for (Span s; span_next(w, pieces(TILE_FLOATS, DISTANCE_TILE * n), count, &s);)
        for (int64_t t = s.first; t < s.end; t++)
            partial[t] = rows_sum(c, span_piece(t, DISTANCE_TILE, rows));
    worker_sync(w);
    if (w->thread > 0)
        return;
    double sum = 0;
    for (int64_t t = 0; t < count; t++)
        sum += partial[t];
    *(float *)c->out[0].data = (float)(sum / (double)n * *scale);
}

/* The gradient of places that do not count is 0, whatever was predicted there. */
void CPU(distance_grad)(const Call *c, Worker *w)
{
    const DistanceAttr *attr = c->attr;
    const float *weight = c->in[2].data, *scale = c->in[3].data, *dloss = c->in[4].data;
    int64_t n = c->in[0].columns;
    double common = (double)*scale * *dloss / (double)n;
    bool add = call_accumulates(c, 0);
    for (Span s; span_next(w, tile_rows(n), c->in[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            const float *pred = (const float *)c->in[0].data + row * n, *target = (const float *)c->in[1].data + row * n;
            float *dpred = (float *)c->out[0].data + row * n;
            float factor = (float)((weight ? weight[row] : 1) * common);
            if (weight && weight[row] == 0) {
                if (!add)
                    memset(dpred, 0, (size_t)n * sizeof *dpred);
                continue;
            }
            for (int64_t i = 0; i < n; i += LANES) {
                Vec e = vec_read(pred + i, n - i) - vec_read(target + i, n - i);
                vec_put(dpred + i, factor * slope(e, attr->kind, (float)attr->beta), n - i, add);
            }
        }
}
