#include "ops/ref.h"
#include "ops/cosine/work.h"

REF_DECLARE(cosine);
REF_DECLARE(cosine_grad);

/* p.t / (|p| |t|) of a row, and the two norms. */
static double row_cosine(const real *p, const real *t, int64_t n, double *p_norm, double *t_norm)
{
    double both = 0, pp = 0, tt = 0;
    for (int64_t i = 0; i < n; i++) {
        both += (double)p[i] * t[i];
        pp += (double)p[i] * p[i];
        tt += (double)t[i] * t[i];
    }
    *p_norm = fmax(sqrt(pp), COSINE_LEAST);
    *t_norm = fmax(sqrt(tt), COSINE_LEAST);
    return both / (*p_norm * *t_norm);
}

void REF(cosine)(const Call *c, Worker *w)
{
    (void)w;
    const real *pred = c->in[0].data, *target = c->in[1].data, *weight = c->in[2].data, *scale = c->in[3].data;
    int64_t n = c->in[0].columns;
    double sum = 0, p_norm, t_norm;
    for (int64_t row = 0; row < c->in[0].rows; row++)
        if (!weight || weight[row] != 0) /* whatever is predicted where nothing counts */
            sum += (weight ? weight[row] : 1) * (2 - 2 * row_cosine(pred + row * n, target + row * n, n, &p_norm, &t_norm));
    *(real *)c->out[0].data = (real)(sum * *scale);
}

/* d cos / dp = (t / |t| - cos p / |p|) / |p|; where |p| is held at its least, p / |p| is linear and the second part is left
 * out. */
void REF(cosine_grad)(const Call *c, Worker *w)
{
    (void)w;
    const real *pred = c->in[0].data, *target = c->in[1].data, *weight = c->in[2].data, *scale = c->in[3].data,
               *dloss = c->in[4].data;
    real *dpred = c->out[0].data;
    int64_t n = c->in[0].columns;
    for (int64_t row = 0; row < c->in[0].rows; row++) {
        const real *p = pred + row * n, *t = target + row * n;
        double p_norm, t_norm, value = row_cosine(p, t, n, &p_norm, &t_norm);
        double factor = -2 * (weight ? weight[row] : 1) * (double)*scale * *dloss / p_norm;
        double back = p_norm > COSINE_LEAST ? value / p_norm : 0;
        for (int64_t i = 0; i < n; i++)
            ref_put(&dpred[row * n + i], weight && weight[row] == 0 ? 0 : factor * (t[i] / t_norm - back * p[i]),
                    call_accumulates(c, 0));
    }
}
