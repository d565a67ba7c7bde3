#include "ops/ref.h"
#include "ops/relative_bias/attr.h"

REF_DECLARE(relative_bias);
REF_DECLARE(relative_bias_grad);

void REF(relative_bias)(const Call *c, Worker *w)
{
    (void)w;
    const real *table = c->in[0].data;
    int64_t heads = c->in[0].columns, tokens = c->out[0].columns;
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < tokens; i++)
            for (int64_t j = 0; j < tokens; j++)
                ((real *)c->out[0].data)[(h * tokens + i) * tokens + j] = table[relative_bias_row(c->attr, i, j) * heads + h];
}

void REF(relative_bias_grad)(const Call *c, Worker *w)
{
    (void)w;
    const real *dbias = c->in[0].data;
    real *dtable = c->out[0].data;
    int64_t heads = c->out[0].columns, tokens = c->in[0].columns;
    for (int64_t r = 0; r < c->out[0].rows; r++)
        for (int64_t h = 0; h < heads; h++) {
            double sum = 0;
            for (int64_t i = 0; i < tokens; i++)
                for (int64_t j = 0; j < tokens; j++)
                    sum += relative_bias_row(c->attr, i, j) == r ? dbias[(h * tokens + i) * tokens + j] : 0;
            ref_put(&dtable[r * heads + h], sum, call_accumulates(c, 0));
        }
}
