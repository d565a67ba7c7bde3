/* y = residual + scales (prologue(x) W^T + b). The weights are packed first, by all threads; then each tile of rows is prepared
 * (LayerNorm, activation) in a thread's own memory, multiplied panel by panel, and finished (bias, scales, residual) while it
 * is in the cache. */
#include "ops/linear/tile.h"

CPU_DECLARE(linear);

static inline __attribute__((always_inline)) void row_statistics_of(const void *x, const bool bf16, int64_t n, float eps,
                                                                    float *stats)
{
    Vec sum = {0}, square = {0};
    for (int64_t i = 0; i < n; i += LANES)
        sum += number_read(x, bf16, i, n - i);
    float mean = vec_sum(sum) / (float)n;
    for (int64_t i = 0; i < n; i += LANES) {
        Vec e = number_read(x, bf16, i, n - i) - mean;
        if (n - i < LANES)
            e = (Vec)((VecI)e & vec_first(n - i));
        square += e * e;
    }
    stats[0] = mean;
    stats[1] = 1.0f / sqrtf(vec_sum(square) / (float)n + eps);
}

static void row_statistics(const void *x, bool bf16, int64_t n, double eps, float *stats)
{
    if (bf16)
        row_statistics_of(x, true, n, (float)eps, stats);
    else
        row_statistics_of(x, false, n, (float)eps, stats);
}

typedef struct {
    const float *bias, *column, *group, *residual;
    int64_t first_row, per_group, columns;
    void *y;
    bool bf16;
} ForwardEnd;

/* columns: LANES or NR as constants, or what is left of the last panel. */
static inline __attribute__((always_inline)) void forward_end_of(const ForwardEnd *context, int64_t row, int rows,
                                                                 int64_t column, const int columns, const bool bf16,
                                                                 const float *block)
{
    const ForwardEnd e = *context;
    Vec bias[2] = {{0}, {0}}, scale[2] = {{0}, {0}};
    for (int v = 0; v * LANES < columns; v++) {
        if (e.bias)
            bias[v] = vec_read(e.bias + column + v * LANES, columns - v * LANES);
        if (e.column)
            scale[v] = vec_read(e.column + column + v * LANES, columns - v * LANES);
    }
    for (int i = 0; i < rows; i++) {
        int64_t at = e.first_row + row + i, place = at * e.columns + column;
        float factor = e.group ? e.group[at / e.per_group] : 1.0f;
        Vec out[2] = {{0}, {0}};
#pragma GCC unroll 2
        for (int v = 0; v * LANES < columns; v++) {
            Vec y = vec_load(block + i * NR + v * LANES) + bias[v];
            if (e.column)
                y *= scale[v];
            if (e.group)
                y *= factor;
            if (e.residual)
                y += vec_read(e.residual + place + v * LANES, columns - v * LANES);
            out[v] = y;
        }
        if (bf16 && HAS_PAIRS && columns == NR)
            vec_store((float *)number_at(e.y, true, place), unit_join(out[0], out[1]));
        else
#pragma GCC unroll 2
            for (int v = 0; v * LANES < columns; v++)
                number_write(e.y, bf16, place + v * LANES, out[v], columns - v * LANES);
    }
}

static void forward_end(const void *context, int64_t row, int rows, int64_t column, int columns, const float *block)
{
    const ForwardEnd *e = context;
    if (columns < NR)
        forward_end_of(e, row, rows, column, columns, e->bf16, block);
    else if (e->bf16)
        forward_end_of(e, row, rows, column, NR, true, block);
    else
        forward_end_of(e, row, rows, column, NR, false, block);
}

void CPU(linear)(const Call *c, Worker *worker)
{
    const LinearAttr *attr = c->attr;
    const Tensor *x = &c->in[LINEAR_X];
    bool pairs = HAS_PAIRS && attr->bf16;
    int64_t rows = x->rows, k = x->columns, n = c->out[LINEAR_Y].columns, units = unit_count(k, pairs);
    int64_t tile = linear_tile_rows(rows, units), tiles = linear_tiles(rows, tile);
    int64_t stride = linear_stride(units);
    Unit *packed = c->work, *own = packed + units * linear_padded(n) + worker->thread * tile * stride;
    float *stats = c->out[LINEAR_STATS].data;
    Rows w = {.data = c->in[LINEAR_W].data, .rows = n, .columns = k, .stride = k};
    for (int64_t p; (p = worker_next(worker, pieces(n, NR))) * NR < n;)
        pack_across(&w, p, pairs, packed + p * units * NR);
    worker_sync(worker);
    Operand left = {.data = x->data,
                    .bf16 = x->dtype == DTYPE_BF16,
                    .columns = k,
                    .prologue = attr->prologue,
                    .stats = stats,
                    .gamma = c->in[LINEAR_GAMMA].data,
                    .beta = c->in[LINEAR_BETA].data};
    ForwardEnd end = {.bias = c->in[LINEAR_B].data,
                      .column = c->in[LINEAR_COLUMN_SCALE].data,
                      .group = c->in[LINEAR_ROW_SCALE].data,
                      .residual = c->in[LINEAR_RESIDUAL].data,
                      .per_group = c->in[LINEAR_ROW_SCALE].data ? rows / c->in[LINEAR_ROW_SCALE].columns : 1,
                      .columns = n,
                      .y = c->out[LINEAR_Y].data,
                      .bf16 = c->out[LINEAR_Y].dtype == DTYPE_BF16};
    bool plain = operand_is_plain(&left, pairs);
    for (int64_t t; (t = worker_next(worker, tiles)) < tiles;) {
        int64_t first = t * tile, count = least(tile, rows - first);
        for (int64_t i = 0; i < count && !plain; i++) {
            if (attr->prologue == PROLOGUE_LAYER_NORM)
                row_statistics(operand_row(&left, first + i), left.bf16, k, attr->eps, stats + 2 * (first + i));
            operand_row_units(&left, first + i, pairs, own + i * stride);
        }
        end.first_row = first;
        const Ahead ahead[2] = {{end.residual ? end.residual + first * n : NULL, false, n},
                                {number_at(end.y, end.bf16, first * n), end.bf16, n}};
        multiply_tile(plain ? (const Unit *)operand_row(&left, first) : own, plain ? units : stride, count, units, pairs,
                      packed, n, ahead, forward_end, &end);
    }
}
