#include "ops/grad_norm/attr.h"
#include "ops/row.h"

CPU_DECLARE(grad_norm);

/* Half as many floats, and their doubles, which fill a vector. */
typedef float HalfLoose __attribute__((vector_size(LANES / 2 * sizeof(float)), aligned(4), may_alias));
typedef double Wide __attribute__((vector_size(LANES / 2 * sizeof(double))));

/* In double: the square of a float may be too large for one. */
static double sum_of_squares(const float *x, int64_t n)
{
    enum { HALF = LANES / 2, CHAINS = 4 };
    Wide sum[CHAINS] = {{0}};
    int64_t i = 0;
    for (; i + CHAINS * HALF <= n; i += CHAINS * HALF)
        for (int k = 0; k < CHAINS; k++) {
            Wide v = __builtin_convertvector(*(const HalfLoose *)(x + i + k * HALF), Wide);
            sum[k] += v * v;
        }
    double rest = 0;
    for (; i < n; i++)
        rest += (double)x[i] * x[i];
    Wide all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (int k = 0; k < HALF; k++)
        rest += all[k];
    return rest;
}

void CPU(grad_norm)(const Call *c, Worker *w)
{
    const GradNormAttr *attr = c->attr;
    const float *g = c->in[0].data, *loss = c->in[1].data;
    float *status = c->out[0].data;
    double *partial = c->work;
    int64_t count = c->in[0].columns;
    for (Span s; span_next(w, GRAD_NORM_TILE, count, &s);)
        partial[s.first / GRAD_NORM_TILE] = sum_of_squares(g + s.first, s.end - s.first);
    worker_sync(w);
    if (w->thread > 0)
        return;
    double sum = 0;
    for (int64_t t = 0; t < pieces(count, GRAD_NORM_TILE); t++)
        sum += partial[t];
    double norm = sqrt(sum);
    status[STATUS_NORM] = (float)norm;
    status[STATUS_FACTOR] = (float)clip_factor(norm, attr->clip);
    status[STATUS_FINITE] = isfinite(norm) && isfinite(*loss);
}
