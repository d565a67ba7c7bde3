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
        const real *x = (const real *)c->in[0].data + row * n;
        real *y = (real *)c->out[0].data + row * n;
        double mean = 0, square = 0;
        for (int64_t i = 0; i < n; i++)
            mean += x[i];
        mean /= (double)n;
        for (int64_t i = 0; i < n; i++)
            square += (x[i] - mean) * (x[i] - mean);
        double inverse = 1 / sqrt(square / (double)n + attr->eps);
        for (int64_t i = 0; i < n; i++)
            y[i] = (real)((x[i] - mean) * inverse * gamma[i] + beta[i]);
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
    const real *dy = c->in[0].data, *x = c->in[1].data, *stats = c->in[2].data, *gamma = c->in[3].data;
    real *dx = c->out[0].data, *dgamma = c->out[1].data, *dbeta = c->out[2].data;
    int64_t n = c->in[0].columns, rows = c->in[0].rows;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, product = 0;
        for (int64_t row = 0; row < rows; row++) {
            sum += dy[row * n + i];
            product += dy[row * n + i] * (double)((x[row * n + i] - stats[2 * row]) * stats[2 * row + 1]);
        }
        if (dgamma)
            ref_put(&dgamma[i], product, call_accumulates(c, 1));
        if (dbeta)
            ref_put(&dbeta[i], sum, call_accumulates(c, 2));
    }
    for (int64_t row = 0; dx && row < rows; row++) {
        double mean = stats[2 * row], inverse = stats[2 * row + 1], sum = 0, product = 0;
        for (int64_t i = 0; i < n; i++) {
            double g = (double)dy[row * n + i] * gamma[i];
            sum += g;
            product += g * (x[row * n + i] - mean) * inverse;
        }
        for (int64_t i = 0; i < n; i++) {
            double hat = (x[row * n + i] - mean) * inverse;
            double value = inverse * ((double)dy[row * n + i] * gamma[i] - sum / (double)n - hat * product / (double)n);
            ref_put(&dx[row * n + i], value, call_accumulates(c, 0));
        }
    }
}
