#include "ops/ref.h"

REF_DECLARE(hits);

static bool is_hit(const real *z, int64_t n, int32_t label)
{
    for (int64_t i = 0; label >= 0 && i < n; i++)
        if (isnan(z[i]) || z[i] > z[label] || (z[i] == z[label] && i < label))
            return false;
    return label >= 0;
}

void REF(hits)(const Call *c, Worker *w)
{
    (void)w;
    const int32_t *labels = c->in[1].data;
    int64_t n = c->in[0].columns, count = 0;
    for (int64_t row = 0; row < c->in[0].rows; row++)
        count += is_hit((const real *)c->in[0].data + row * n, n, labels[row]);
    *(real *)c->out[0].data = (real)((double)count * *(const real *)c->in[2].data);
}
