#include "ops/ref.h"
#include "ops/cross_entropy/work.h"

REF_DECLARE(cross_entropy);
REF_DECLARE(cross_entropy_grad);

static double log_sum(const real *z, int64_t n)
{
    double most = z[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        most = fmax(most, (double)z[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(z[i] - most);
    return most + log(sum);
}

/* What is asked of class i in that row. */
static double target(const Call *c, int64_t row, int64_t i)
{
    const CrossEntropyAttr *attr = c->attr;
    const int32_t *labels = c->in[1].data;
    const real *targets = c->in[2].data;
    if (targets)
        return targets[row * attr->classes + i];
    return (labels[row] == i ? 1 - attr->smoothing : 0) + attr->smoothing / (double)attr->classes;
}

static bool counts(const Call *c, int64_t row)
{
    const int32_t *labels = c->in[1].data;
    return !labels || labels[row] >= 0;
}

void REF(cross_entropy)(const Call *c, Worker *w)
{
    (void)w;
    const CrossEntropyAttr *attr = c->attr;
    const real *scale = c->in[3].data;
    double sum = 0;
    for (int64_t row = 0; row < c->in[0].rows; row++)
        for (int64_t head = 0; head < c->in[0].columns && counts(c, row); head += attr->classes) {
            const real *z = (const real *)c->in[0].data + row * c->in[0].columns + head;
            double all = log_sum(z, attr->classes);
            for (int64_t i = 0; i < attr->classes; i++)
                sum += target(c, row, i) * (all - z[i]);
        }
    *(real *)c->out[0].data = (real)(sum * *scale);
}

/* d/dz_i = p_i sum(t) - t_i. */
void REF(cross_entropy_grad)(const Call *c, Worker *w)
{
    (void)w;
    const CrossEntropyAttr *attr = c->attr;
    const real *scale = c->in[3].data, *dloss = c->in[4].data;
    for (int64_t row = 0; row < c->in[0].rows; row++) {
        double total = 0, factor = counts(c, row) ? (double)*scale * *dloss : 0;
        for (int64_t i = 0; i < attr->classes; i++)
            total += target(c, row, i);
        for (int64_t head = 0; head < c->in[0].columns; head += attr->classes) {
            const real *z = (const real *)c->in[0].data + row * c->in[0].columns + head;
            real *dz = (real *)c->out[0].data + row * c->in[0].columns + head;
            double all = log_sum(z, attr->classes);
            for (int64_t i = 0; i < attr->classes; i++) {
                double slope = exp(z[i] - all) * total - target(c, row, i);
                ref_put(&dz[i], factor == 0 ? 0 : factor * slope, call_accumulates(c, 0));
            }
        }
    }
}
