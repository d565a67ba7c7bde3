/* One pass over a row for the three sums, and for the gradient a second one that writes. */
#include "ops/cosine/work.h"
#include "ops/vector.h"

CPU_DECLARE(cosine);
CPU_DECLARE(cosine_grad);

typedef struct {
    float cosine, p_norm, t_norm;
} RowCosine;

static RowCosine row_cosine(const float *p, const float *t, int64_t n)
{
    Vec both = {0}, pp = {0}, tt = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        Vec a = vec_load(p + i), b = vec_load(t + i);
        both += a * b;
        pp += a * a;
        tt += b * b;
    }
    Vec a = vec_load_some(p + i, n - i), b = vec_load_some(t + i, n - i);
    RowCosine r = {.p_norm = fmaxf(sqrtf(vec_sum(pp + a * a)), (float)COSINE_LEAST),
                   .t_norm = fmaxf(sqrtf(vec_sum(tt + b * b)), (float)COSINE_LEAST)};
    r.cosine = vec_sum(both + a * b) / (r.p_norm * r.t_norm);
    return r;
}

void CPU(cosine)(const Call *c, Worker *w)
{
    const float *pred = c->in[0].data, *target = c->in[1].data, *weight = c->in[2].data, *scale = c->in[3].data;
    int64_t n = c->in[0].columns, rows = c->in[0].rows, tiles = (rows + COSINE_TILE - 1) / COSINE_TILE;
    double *partial = c->work;
    for (int64_t t; (t = worker_next(w, tiles)) < tiles;) {
        int64_t end = (t + 1) * COSINE_TILE < rows ? (t + 1) * COSINE_TILE : rows;
        partial[t] = 0;
        for (int64_t row = t * COSINE_TILE; row < end; row++)
            if (!weight || weight[row] != 0)
                partial[t] += (weight ? (double)weight[row] : 1) *
                              (2 - 2 * (double)row_cosine(pred + row * n, target + row * n, n).cosine);
    }
    worker_sync(w);
    if (w->thread != 0)
        return;
    double sum = 0;
    for (int64_t t = 0; t < tiles; t++)
        sum += partial[t];
    *(float *)c->out[0].data = (float)(sum * (double)*scale);
}

void CPU(cosine_grad)(const Call *c, Worker *w)
{
    const float *pred = c->in[0].data, *target = c->in[1].data, *weight = c->in[2].data, *scale = c->in[3].data,
                *dloss = c->in[4].data;
    int64_t n = c->in[0].columns, rows = c->in[0].rows, tiles = (rows + COSINE_TILE - 1) / COSINE_TILE;
    bool add = call_accumulates(c, 0);
    for (int64_t tile; (tile = worker_next(w, tiles)) < tiles;) {
        int64_t end = (tile + 1) * COSINE_TILE < rows ? (tile + 1) * COSINE_TILE : rows;
        for (int64_t row = tile * COSINE_TILE; row < end; row++) {
            const float *p = pred + row * n, *t = target + row * n;
            float *dp = (float *)c->out[0].data + row * n;
            if (weight && weight[row] == 0) {
                if (!add)
                    memset(dp, 0, (size_t)n * sizeof *dp);
                continue;
            }
            RowCosine r = row_cosine(p, t, n);
            float factor = -2 * (weight ? weight[row] : 1) * *scale * *dloss / r.p_norm;
            float ahead = factor / r.t_norm, back = r.p_norm > (float)COSINE_LEAST ? factor * r.cosine / r.p_norm : 0;
            int64_t i = 0;
            for (; i + LANES <= n; i += LANES) {
                Vec v = vec_load(t + i) * ahead - vec_load(p + i) * back;
                vec_store(dp + i, add ? v + vec_load(dp + i) : v);
            }
            for (; i < n; i++) {
                float v = t[i] * ahead - p[i] * back;
                dp[i] = add ? dp[i] + v : v;
            }
        }
    }
}
