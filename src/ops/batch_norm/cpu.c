/* A task is a stripe of columns from the first row to the last, so that each number is one sum in one order. */
#include "ops/batch_norm/attr.h"
#include "ops/row.h"

CPU_DECLARE(batch_norm);
CPU_DECLARE(batch_norm_grad);
CPU_DECLARE(batch_norm_fixed);
CPU_DECLARE(batch_norm_fixed_grad);

/* What is summed: for column i of a row, a number that may depend on two values and two numbers of the column. */
typedef enum { SUM_X, SUM_SQUARES, SUM_ALONG } SumKind;

/* Sums down `rows` rows of some <= LANES columns, into double. */
static void column_sums(SumKind kind, const float *x, const float *other, Vec mean, int64_t n, int64_t rows, int64_t some,
                        double sums[LANES])
{
    for (int k = 0; k < LANES; k++)
        sums[k] = 0;
    for (int64_t first = 0; first < rows; first += BATCH_NORM_ROWS) {
        Vec part = {0};
        for (int64_t row = first; row < least(rows, first + BATCH_NORM_ROWS); row++) {
            Vec v = vec_read(x + row * n, some);
            if (kind == SUM_SQUARES)
                v = (v - mean) * (v - mean);
            else if (kind == SUM_ALONG)
                v = v * (vec_read(other + row * n, some) - mean);
            part += v;
        }
        for (int k = 0; k < LANES; k++)
            sums[k] += (double)part[k];
    }
}

static void norm_columns(const Call *c, int64_t i, int64_t some)
{
    const BatchNormAttr *attr = c->attr;
    int64_t n = c->in[0].columns, rows = c->in[0].rows;
    const float *x = (const float *)c->in[0].data + i;
    float *y = (float *)c->out[0].data + i, *stats = (float *)c->out[1].data + i, *running = c->out[2].data;
    double sums[LANES], squares[LANES];
    Vec mean = {0}, scale = {0};
    column_sums(SUM_X, x, NULL, mean, n, rows, some, sums);
    for (int k = 0; k < LANES; k++)
        mean[k] = (float)(sums[k] / (double)rows);
    column_sums(SUM_SQUARES, x, NULL, mean, n, rows, some, squares);
    for (int k = 0; k < LANES; k++)
        scale[k] = (float)(1 / sqrt(squares[k] / (double)rows + attr->eps));
    vec_write(stats, mean, some);
    vec_write(stats + n, scale, some);
    for (int64_t row = 0; row < rows; row++)
        vec_write(y + row * n, (vec_read(x + row * n, some) - mean) * scale, some);
    if (!running)
        return;
    running += i;
    for (int64_t k = 0; k < least(some, LANES); k++) {
        running[k] = (float)((1 - attr->momentum) * (double)running[k] + attr->momentum * sums[k] / (double)rows);
        running[n + k] =
            (float)((1 - attr->momentum) * (double)running[n + k] + attr->momentum * squares[k] / (double)(rows - 1));
    }
}

void CPU(batch_norm)(const Call *c, Worker *w)
{
    for (Span s; span_next(w, BATCH_NORM_COLUMNS, c->in[0].columns, &s);)
        for (int64_t i = s.first; i < s.end; i += LANES)
            norm_columns(c, i, s.end - i);
}

static void grad_columns(const Call *c, int64_t i, int64_t some)
{
    int64_t n = c->in[0].columns, rows = c->in[0].rows;
    const float *dy = (const float *)c->in[0].data + i, *x = (const float *)c->in[1].data + i,
                *stats = (const float *)c->in[2].data + i;
    float *dx = (float *)c->out[0].data + i;
    double sums[LANES];
    Vec mean = vec_read(stats, some), scale = vec_read(stats + n, some), plain = {0}, along = {0};
    column_sums(SUM_X, dy, NULL, mean, n, rows, some, sums);
    for (int k = 0; k < LANES; k++)
        plain[k] = (float)(sums[k] / (double)rows);
    column_sums(SUM_ALONG, dy, x, mean, n, rows, some, sums);
    for (int k = 0; k < LANES; k++)
        along[k] = (float)(sums[k] / (double)rows);
    along = along * scale * scale;
    for (int64_t row = 0; row < rows; row++)
        vec_put(dx + row * n, scale * (vec_read(dy + row * n, some) - plain - (vec_read(x + row * n, some) - mean) * along),
                some, call_accumulates(c, 0));
}

void CPU(batch_norm_grad)(const Call *c, Worker *w)
{
    for (Span s; span_next(w, BATCH_NORM_COLUMNS, c->in[0].columns, &s);)
        for (int64_t i = s.first; i < s.end; i += LANES)
            grad_columns(c, i, s.end - i);
}

static Vec fixed_scale(const float *variance, double eps, int64_t some)
{
    return 1.0f / vec_sqrt(vec_read(variance, some) + (float)eps);
}

void CPU(batch_norm_fixed)(const Call *c, Worker *w)
{
    const BatchNormAttr *attr = c->attr;
    const float *running = c->in[1].data;
    int64_t n = c->in[0].columns;
    for (Span s; span_next(w, tile_rows(n), c->in[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            const float *x = (const float *)c->in[0].data + row * n;
            float *y = (float *)c->out[0].data + row * n;
            for (int64_t i = 0; i < n; i += LANES)
                vec_write(y + i,
                          (vec_read(x + i, n - i) - vec_read(running + i, n - i)) *
                              fixed_scale(running + n + i, attr->eps, n - i),
                          n - i);
        }
}

void CPU(batch_norm_fixed_grad)(const Call *c, Worker *w)
{
    const BatchNormAttr *attr = c->attr;
    const float *running = c->in[1].data;
    int64_t n = c->in[0].columns;
    for (Span s; span_next(w, tile_rows(n), c->in[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            const float *dy = (const float *)c->in[0].data + row * n;
            float *dx = (float *)c->out[0].data + row * n;
            for (int64_t i = 0; i < n; i += LANES)
                vec_put(dx + i, vec_read(dy + i, n - i) * fixed_scale(running + n + i, attr->eps, n - i), n - i,
                        call_accumulates(c, 0));
        }
}
