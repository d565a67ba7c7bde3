#include "ops/ref.h"
#include "ops/layer_norm/layer_norm.h"

REF_DECLARE(layer_norm);
REF_DECLARE(layer_norm_grad);

void REF(layer_norm)(const Call *c, Worker *w)
{
    (void)w;
    const LayerNormAttr *attr = c->attr;
    const real *gamma = c->in[1].data, *beta = c->in[2].data;
    real *stats = c->out[1].data;
    int64_t n = c->in[0].columns;
    for (int64_t row = 0; row < c->in[0].rows; row++) {
        const Tensor *x = &c->in[0];
        double mean = 0, square = 0;
        for (int64_t i = row * n; i < (row + 1) * n; i++)
            mean += ref_get(x, i);
        mean /= (double)n;
        for (int64_t i = row * n; i < (row + 1) * n; i++)
            square += (ref_get(x, i) - mean) * (ref_get(x, i) - mean);
        double inverse = 1 / sqrt(square / (double)n + attr->eps);
        for (int64_t i = 0; i < n; i++)
            ref_set(&c->out[0], row * n + i, (ref_get(x, row * n + i) - mean) * inverse * gamma[i] + beta[i], false);
        if (stats) {
            stats[2 * row] = (real)mean;
            stats[2 * row + 1] = (real)inverse;
        }
    }
}

/* With xhat = (x - mean) / deviation and g = dy gamma: dx = (g - mean(g) - xhat mean(g xhat)) / deviation. */
void REF(layer_norm_grad)(const Call *c, Worker *w)
{
    (void)w;
    const Tensor *dy = &c->in[0], *x = &c->in[1], *dx = &c->out[0], *y = &c->out[3];
    const real *stats = c->in[2].data, *gamma = c->in[3].data, *beta = c->in[4].data;
    real *dgamma = c->out[1].data, *dbeta = c->out[2].data;
    int64_t n = dy->columns, rows = dy->rows;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, product = 0;
        for (int64_t row = 0; row < rows; row++) {
            sum += ref_get(dy, row * n + i);
            product += ref_get(dy, row * n + i) * (ref_get(x, row * n + i) - stats[2 * row]) * stats[2 * row + 1];
        }
        if (dgamma)
            ref_put(&dgamma[i], product, call_accumulates(c, 1));
        if (dbeta)
            ref_put(&dbeta[i], sum, call_accumulates(c, 2));
    }
    for (int64_t row = 0; row < rows; row++) {
        double mean = stats[2 * row], inverse = stats[2 * row + 1], sum = 0, product = 0;
        for (int64_t i = 0; i < n; i++) {
            double g = ref_get(dy, row * n + i) * gamma[i];
            sum += g;
            product += g * (ref_get(x, row * n + i) - mean) * inverse;
        }
        for (int64_t i = 0; i < n; i++) {
            double hat = (ref_get(x, row * n + i) - mean) * inverse, d = ref_get(dy, row * n + i);
            if (dx->data)
                ref_set(dx, row * n + i, inverse * (d * gamma[i] - sum / (double)n - hat * product / (double)n),
                        call_accumulates(c, 0));
            if (y->data)
                ref_set(y, row * n + i, hat * gamma[i] + beta[i], false);
        }
    }
}
