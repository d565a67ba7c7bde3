#include "ops/ref.h"
#include "ops/batch_norm/attr.h"

REF_DECLARE(batch_norm);
REF_DECLARE(batch_norm_grad);
REF_DECLARE(batch_norm_fixed);
REF_DECLARE(batch_norm_fixed_grad);

void REF(batch_norm)(const Call *c, Worker *w)
{
    (void)w;
    const BatchNormAttr *attr = c->attr;
    const real *x = c->in[0].data;
    real *y = c->out[0].data, *stats = c->out[1].data, *running = c->out[2].data;
    int64_t n = c->in[0].columns, rows = c->in[0].rows;
    for (int64_t i = 0; i < n; i++) {
        double mean = 0, squares = 0;
        for (int64_t row = 0; row < rows; row++)
            mean += x[row * n + i];
        mean /= (double)rows;
        for (int64_t row = 0; row < rows; row++)
            squares += (x[row * n + i] - mean) * (x[row * n + i] - mean);
        double scale = 1 / sqrt(squares / (double)rows + attr->eps);
        for (int64_t row = 0; row < rows; row++)
            y[row * n + i] = (real)((x[row * n + i] - mean) * scale);
        stats[i] = (real)mean;
        stats[n + i] = (real)scale;
        if (!running)
            continue;
        running[i] = (real)((1 - attr->momentum) * running[i] + attr->momentum * mean);
        running[n + i] = (real)((1 - attr->momentum) * running[n + i] + attr->momentum * squares / (double)(rows - 1));
    }
}

/* dx = scale (dy - mean(dy) - y mean(dy y)) */
void REF(batch_norm_grad)(const Call *c, Worker *w)
{
    (void)w;
    const real *dy = c->in[0].data, *x = c->in[1].data, *stats = c->in[2].data;
    real *dx = c->out[0].data;
    int64_t n = c->in[0].columns, rows = c->in[0].rows;
    for (int64_t i = 0; i < n; i++) {
        double plain = 0, along = 0, mean = stats[i], scale = stats[n + i];
        for (int64_t row = 0; row < rows; row++) {
            plain += dy[row * n + i];
            along += dy[row * n + i] * (x[row * n + i] - mean) * scale;
        }
        plain /= (double)rows;
        along /= (double)rows;
        for (int64_t row = 0; row < rows; row++)
            ref_put(&dx[row * n + i], scale * (dy[row * n + i] - plain - (x[row * n + i] - mean) * scale * along),
                    call_accumulates(c, 0));
    }
}

void REF(batch_norm_fixed)(const Call *c, Worker *w)
{
    (void)w;
    const BatchNormAttr *attr = c->attr;
    const real *x = c->in[0].data, *running = c->in[1].data;
    real *y = c->out[0].data;
    int64_t n = c->in[0].columns;
    for (int64_t k = 0; k < c->in[0].rows * n; k++)
        y[k] = (real)((x[k] - (double)running[k % n]) / sqrt(running[n + k % n] + attr->eps));
}

void REF(batch_norm_fixed_grad)(const Call *c, Worker *w)
{
    (void)w;
    const BatchNormAttr *attr = c->attr;
    const real *dy = c->in[0].data, *running = c->in[1].data;
    int64_t n = c->in[0].columns;
    for (int64_t k = 0; k < c->in[0].rows * n; k++)
        ref_put((real *)c->out[0].data + k, dy[k] / sqrt(running[n + k % n] + attr->eps), call_accumulates(c, 0));
}
