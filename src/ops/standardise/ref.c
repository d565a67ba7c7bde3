#include "ops/ref.h"

REF_DECLARE(standardise);

void REF(standardise)(const Call *c, Worker *w)
{
    (void)w;
    int64_t n = c->out[0].columns;
    for (int64_t row = 0; row < c->out[0].rows; row++) {
        const real *x = (const real *)c->in[0].data + row * n;
        real *y = (real *)c->out[0].data + row * n;
        double mean = 0, square = 0;
        for (int64_t i = 0; i < n; i++)
            mean += x[i];
        mean /= (double)n;
        for (int64_t i = 0; i < n; i++)
            square += (x[i] - mean) * (x[i] - mean);
        double scale = 1 / sqrt(square / (double)(n - 1) + 1e-6);
        for (int64_t i = 0; i < n; i++)
            y[i] = (real)((x[i] - mean) * scale);
    }
}
