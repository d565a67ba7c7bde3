#include "ops/ref.h"

REF_DECLARE(argmax);

void REF(argmax)(const Call *c, Worker *w)
{
    (void)w;
    const real *weight = c->in[1].data;
    int32_t *column = c->out[0].data;
    for (int64_t row = 0; row < c->in[0].rows; row++) {
        const real *x = (const real *)c->in[0].data + row * c->in[0].columns;
        int64_t best = 0;
        for (int64_t i = 1; i < c->in[0].columns; i++)
            if (x[i] > x[best])
                best = i;
        column[row] = weight && weight[row] == 0 ? -1 : (int32_t)best;
    }
}
