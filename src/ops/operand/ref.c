#include "ops/operand/operand.h"

#include "ops/ref.h"

REF_DECLARE(operand);

void REF(operand)(const Call *c, Worker *w)
{
    (void)w;
    const Tensor *x = &c->in[OPERAND_X];
    const real *column = c->in[OPERAND_COLUMN_SCALE].data, *group = c->in[OPERAND_ROW_SCALE].data;
    real *sums = c->out[OPERAND_SUMS].data;
    int64_t per_group = group ? x->rows / c->in[OPERAND_ROW_SCALE].columns : 1;
    for (int64_t i = 0; i < x->columns; i++) {
        double sum = 0;
        for (int64_t row = 0; row < x->rows; row++) {
            double value = ref_get(x, row * x->columns + i) * (column ? column[i] : 1) * (group ? group[row / per_group] : 1);
            ref_set(&c->out[OPERAND_Y], row * x->columns + i, value, false);
            sum += value;
        }
        if (sums)
            ref_put(&sums[i], sum, call_accumulates(c, OPERAND_SUMS));
    }
}
