#include "ops/activation/ref.h"
#include "ops/linear/slots.h"
#include "ops/ref.h"

REF_DECLARE(linear);
REF_DECLARE(linear_dw);
REF_DECLARE(linear_dx);

/* Bf16 operands are rounded on the way into a fast product; here they are not: the products differ by that. */

/* Element i of prologue(x) in a row. */
static double prologue(const Tensor *x, int64_t row, int64_t i, const LinearAttr *attr, const real *stats, const real *gamma,
                       const real *beta)
{
    double value = ref_get(x, row * x->columns + i);
    if (attr->prologue == PROLOGUE_LAYER_NORM)
        return (real)((value - stats[2 * row]) * stats[2 * row + 1] * gamma[i] + beta[i]);
    return (real)ref_activation(value, prologue_activation(attr->prologue));
}

static void row_statistics(const Tensor *x, int64_t row, double eps, real *stats)
{
    int64_t n = x->columns;
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n; i++)
        mean += ref_get(x, row * n + i);
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++)
        square += (ref_get(x, row * n + i) - mean) * (ref_get(x, row * n + i) - mean);
    stats[0] = (real)mean;
    stats[1] = (real)(1 / sqrt(square / (double)n + eps));
}

void REF(linear)(const Call *c, Worker *worker)
{
    (void)worker;
    const LinearAttr *attr = c->attr;
    const Tensor *w = &c->in[LINEAR_W], *b = &c->in[LINEAR_B];
    const real *gamma = c->in[LINEAR_GAMMA].data, *beta = c->in[LINEAR_BETA].data, *column = c->in[LINEAR_COLUMN_SCALE].data,
               *group = c->in[LINEAR_ROW_SCALE].data, *residual = c->in[LINEAR_RESIDUAL].data;
    int64_t rows = c->in[LINEAR_X].rows, k = c->in[LINEAR_X].columns, n = c->out[LINEAR_Y].columns;
    int64_t per_group = group ? rows / c->in[LINEAR_ROW_SCALE].columns : 1;
    real *stats = c->out[LINEAR_STATS].data;
    for (int64_t row = 0; row < rows; row++) {
        if (attr->prologue == PROLOGUE_LAYER_NORM)
            row_statistics(&c->in[LINEAR_X], row, attr->eps, stats + 2 * row);
        for (int64_t j = 0; j < n; j++) {
            double sum = b->data ? ref_get(b, j) : 0;
            for (int64_t i = 0; i < k; i++)
                sum += prologue(&c->in[LINEAR_X], row, i, attr, stats, gamma, beta) * ref_get(w, j * k + i);
            if (column)
                sum *= column[j];
            if (group)
                sum *= group[row / per_group];
            ref_set(&c->out[LINEAR_Y], row * n + j, sum + (residual ? residual[row * n + j] : 0), false);
        }
    }
}

/* G = (row_scale dy)^T prologue(x) and g = the column sums of row_scale dy are the gradients as if there were no column scale
 * s; then dW = s G, db = s g and ds_j = sum_k W_jk G_jk + b_j g_j, since the scaled output is s_j (W_j h + b_j). */
void REF(linear_dw)(const Call *c, Worker *worker)
{
    (void)worker;
    const LinearAttr *attr = c->attr;
    const Tensor *dy = &c->in[DW_DY];
    const real *stats = c->in[DW_STATS].data, *gamma = c->in[DW_GAMMA].data, *beta = c->in[DW_BETA].data,
               *column = c->in[DW_COLUMN_SCALE].data, *group = c->in[DW_ROW_SCALE].data, *w = c->in[DW_W].data,
               *b = c->in[DW_B].data, *sums = c->in[DW_SUMS].data;
    int64_t rows = c->in[DW_X].rows, k = c->in[DW_X].columns, n = c->in[DW_DY].columns;
    int64_t per_group = group ? rows / c->in[DW_ROW_SCALE].columns : 1;
    real *dw = c->out[DW_DW].data, *db = c->out[DW_DB].data, *dcolumn = c->out[DW_DCOLUMN].data;
    for (int64_t j = 0; j < n; j++) {
        double scale = column ? column[j] : 1, dscale = 0, bias = sums ? sums[j] : 0;
        for (int64_t row = 0; !sums && row < rows; row++)
            bias += ref_get(dy, row * n + j) * (group ? group[row / per_group] : 1);
        for (int64_t i = 0; i < k && (dw || dcolumn); i++) {
            double sum = 0;
            for (int64_t row = 0; row < rows; row++)
                sum += ref_get(dy, row * n + j) * (group ? group[row / per_group] : 1) *
                       prologue(&c->in[DW_X], row, i, attr, stats, gamma, beta);
            if (dw)
                ref_put(&dw[j * k + i], scale * sum, call_accumulates(c, DW_DW));
            if (dcolumn)
                dscale += w[j * k + i] * sum;
        }
        if (db)
            ref_put(&db[j], scale * bias, call_accumulates(c, DW_DB));
        if (dcolumn)
            ref_put(&dcolumn[j], dscale + (b ? b[j] * bias : 0), call_accumulates(c, DW_DCOLUMN));
    }
}

/* Element i of the gradient at prologue(x) in a row. */
static double at_prologue(const Call *c, int64_t row, int64_t i)
{
    const real *column = c->in[DX_COLUMN_SCALE].data, *group = c->in[DX_ROW_SCALE].data;
    int64_t n = c->in[DX_DY].columns, rows = c->in[DX_DY].rows, k = c->in[DX_W].rows * c->in[DX_W].columns / n;
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += ref_get(&c->in[DX_DY], row * n + j) * (column ? column[j] : 1) * ref_get(&c->in[DX_W], j * k + i);
    return group ? sum * group[row / (rows / c->in[DX_ROW_SCALE].columns)] : sum;
}

void REF(linear_dx)(const Call *c, Worker *worker)
{
    (void)worker;
    const LinearAttr *attr = c->attr;
    int64_t rows = c->in[DX_DY].rows, n = c->in[DX_DY].columns, k = c->in[DX_W].rows * c->in[DX_W].columns / n;
    const real *stats = c->in[DX_STATS].data, *gamma = c->in[DX_GAMMA].data;
    real *dgamma = c->out[DX_DGAMMA].data, *dbeta = c->out[DX_DBETA].data;
    /* Sums over rows are taken in the output itself, which must then start from zero. */
    for (int out = DX_DGAMMA; out <= DX_DBETA; out++)
        for (int64_t i = 0; c->out[out].data && !call_accumulates(c, out) && i < k; i++)
            ((real *)c->out[out].data)[i] = 0;
    for (int64_t row = 0; row < rows; row++) {
        const Tensor *x = &c->in[DX_X];
        double mean = stats ? stats[2 * row] : 0, inverse = stats ? stats[2 * row + 1] : 0, sum = 0, product = 0;
        for (int64_t i = 0; i < k && attr->prologue == PROLOGUE_LAYER_NORM; i++) {
            double dh = at_prologue(c, row, i), hat = (ref_get(x, row * k + i) - mean) * inverse;
            if (dgamma)
                dgamma[i] = (real)(dgamma[i] + dh * hat);
            if (dbeta)
                dbeta[i] = (real)(dbeta[i] + dh);
            sum += dh * gamma[i];
            product += dh * gamma[i] * hat;
        }
        for (int64_t i = 0; c->out[DX_DX].data && i < k; i++) {
            double value = at_prologue(c, row, i);
            if (attr->prologue == PROLOGUE_LAYER_NORM)
                value = inverse *
                        (value * gamma[i] - sum / (double)k - (ref_get(x, row * k + i) - mean) * inverse * product / (double)k);
            else if (attr->prologue != PROLOGUE_NONE)
                value *= ref_activation_slope(ref_get(x, row * k + i), prologue_activation(attr->prologue));
            ref_set(&c->out[DX_DX], row * k + i, value, call_accumulates(c, DX_DX));
        }
    }
}
