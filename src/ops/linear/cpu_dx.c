/* dx = prologue'(x) ((scales dy) W), by tiles of rows like the forward product. */
#include "ops/linear/tile.h"

CPU_DECLARE(linear_dx);

typedef struct {
    const void *x; /* of the activation's slope, or NULL */
    bool x_bf16;
    Prologue prologue;
    bool pairs;
    int64_t first_row, columns;
    bool add;
    void *dx;
    bool bf16;
} BackwardEnd;

static inline Vec slope(Vec x, Prologue kind, bool pairs)
{
    if (kind == PROLOGUE_QUICK_GELU)
        return vec_quick_gelu_slope(x);
    return pairs ? vec_gelu_slope_short(x) : vec_gelu_slope(x);
}

/* columns: NR as a constant, or what is left of the last panel. */
static inline __attribute__((always_inline)) void backward_end_of(const BackwardEnd *context, int64_t row, int rows,
                                                                  int64_t column, const int columns, const bool x_bf16,
                                                                  const bool bf16, const float *block)
{
    const BackwardEnd e = *context;
    for (int i = 0; i < rows; i++) {
        int64_t place = (e.first_row + row + i) * e.columns + column;
        Vec out[2] = {{0}, {0}};
#pragma GCC unroll 2
        for (int v = 0; v * LANES < columns; v++) {
            int64_t at = place + v * LANES, some = columns - v * LANES;
            out[v] = vec_load(block + i * NR + v * LANES);
            if (e.x)
                out[v] *= slope(number_read(e.x, x_bf16, at, some), e.prologue, e.pairs);
            if (e.add)
                out[v] += number_read(e.dx, bf16, at, some);
        }
        if (bf16 && HAS_PAIRS && columns == NR)
            vec_store((float *)number_at(e.dx, true, place), unit_join(out[0], out[1]));
        else
#pragma GCC unroll 2
            for (int v = 0; v * LANES < columns; v++)
                number_write(e.dx, bf16, place + v * LANES, out[v], columns - v * LANES);
    }
}

static void backward_end(const void *context, int64_t row, int rows, int64_t column, int columns, const float *block)
{
    const BackwardEnd *e = context;
    if (columns < NR || (e->x && e->x_bf16 != e->bf16))
        backward_end_of(e, row, rows, column, columns, e->x_bf16, e->bf16, block);
    else if (e->bf16)
        backward_end_of(e, row, rows, column, NR, true, true, block);
    else
        backward_end_of(e, row, rows, column, NR, false, false, block);
}

typedef struct {
    float *to;
    int64_t stride;
} StoreEnd;

static void store_end(const void *context, int64_t row, int rows, int64_t column, int columns, const float *block)
{
    const StoreEnd *e = context;
    (void)columns; /* the rows of `to` are padded */
    for (int i = 0; i < rows; i++) {
        float *to = e->to + (row + i) * e->stride + column;
        vec_store(to, vec_load(block + i * NR));
        vec_store(to + LANES, vec_load(block + i * NR + LANES));
    }
}

/* LayerNorm's gradient of rows. */
typedef struct {
    const float *gamma;
    int64_t n;
    const void *x;
    bool x_bf16;
    void *dx; /* may be NULL */
    bool dx_bf16, add;
    float *dgamma, *dbeta; /* sums of a tile */
} NormEnd;

/* One row; with xhat = (x - mean) / deviation and g = dh gamma: dx = (g - mean(g) - xhat mean(g xhat)) / deviation. The two
 * passes over LANES numbers: */
static inline __attribute__((always_inline)) void norm_sums(const NormEnd *e, const float *dh, const void *x,
                                                            const float *stats, int64_t i, int64_t n, const bool x_bf16,
                                                            Vec sums[2])
{
    Vec d = vec_read(dh + i, n), hat = (number_read(x, x_bf16, i, n) - stats[0]) * stats[1];
    Vec g = d * vec_read(e->gamma + i, n);
    vec_put(e->dgamma + i, d * hat, n, true);
    vec_put(e->dbeta + i, d, n, true);
    sums[0] += g;
    sums[1] += g * hat;
}

static inline __attribute__((always_inline)) void norm_dx(const NormEnd *e, const float *dh, const void *x, const float *stats,
                                                          int64_t i, int64_t n, const bool x_bf16, const float means[2],
                                                          void *dx)
{
    Vec hat = (number_read(x, x_bf16, i, n) - stats[0]) * stats[1];
    Vec v = stats[1] * (vec_read(dh + i, n) * vec_read(e->gamma + i, n) - means[0] - hat * means[1]);
    number_put(dx, e->dx_bf16, i, v, n, e->add);
}

static inline __attribute__((always_inline)) void norm_row_of(const NormEnd *context, const float *dh, const float *row_stats,
                                                              int64_t row, const bool x_bf16)
{
    const NormEnd e = *context;
    const float stats[2] = {row_stats[0], row_stats[1]};
    const void *x = number_at(e.x, x_bf16, row * e.n);
    int64_t n = e.n, i = 0;
    Vec sums[2] = {{0}, {0}};
    for (; i + LANES <= n; i += LANES)
        norm_sums(&e, dh, x, stats, i, LANES, x_bf16, sums);
    if (i < n)
        norm_sums(&e, dh, x, stats, i, n - i, x_bf16, sums);
    if (!e.dx)
        return;
    const float means[2] = {vec_sum(sums[0]) / (float)n, vec_sum(sums[1]) / (float)n};
    void *dx = number_at(e.dx, e.dx_bf16, row * n);
    for (i = 0; i + LANES <= n; i += LANES)
        norm_dx(&e, dh, x, stats, i, LANES, x_bf16, means, dx);
    if (i < n)
        norm_dx(&e, dh, x, stats, i, n - i, x_bf16, means, dx);
}

static void norm_row(const NormEnd *e, const float *dh, const float *stats, int64_t row)
{
    if (e->x_bf16)
        norm_row_of(e, dh, stats, row, true);
    else
        norm_row_of(e, dh, stats, row, false);
}

void CPU(linear_dx)(const Call *c, Worker *worker)
{
    enum { SLICE = 64 };
    const LinearAttr *attr = c->attr;
    const Tensor *dy = &c->in[DX_DY], *x = &c->in[DX_X], *dx = &c->out[DX_DX];
    bool pairs = HAS_PAIRS && attr->bf16, norm = attr->prologue == PROLOGUE_LAYER_NORM;
    int64_t rows = dy->rows, n = dy->columns, k = c->in[DX_W].rows * c->in[DX_W].columns / n, units = unit_count(n, pairs);
    int64_t tile = linear_tile_rows(rows, units > k ? units : k), tiles = linear_tiles(rows, tile);
    int64_t stride = linear_stride(units), padded = linear_padded(k), room = tile * (stride + (norm ? padded : 0));
    Unit *packed = c->work, *own = packed + units * padded + worker->thread * room;
    float *gradient = (float *)own + tile * stride, *partial = (float *)packed + units * padded + worker->threads * room;
    const float *stats = c->in[DX_STATS].data;
    Rows w = {.data = c->in[DX_W].data, .rows = n, .columns = k, .stride = k};
    for (int64_t p; (p = worker_next(worker, pieces(k, NR))) * NR < k;)
        pack_down(&w, p, pairs, packed + p * units * NR);
    worker_sync(worker);
    Operand left = {.data = dy->data,
                    .bf16 = dy->dtype == DTYPE_BF16,
                    .columns = n,
                    .group = c->in[DX_ROW_SCALE].data,
                    .per_group = c->in[DX_ROW_SCALE].data ? rows / c->in[DX_ROW_SCALE].columns : 1,
                    .column = c->in[DX_COLUMN_SCALE].data};
    BackwardEnd end = {.x = norm || attr->prologue == PROLOGUE_NONE ? NULL : x->data,
                       .x_bf16 = x->dtype == DTYPE_BF16,
                       .prologue = attr->prologue,
                       .pairs = pairs,
                       .columns = k,
                       .add = call_accumulates(c, DX_DX),
                       .dx = dx->data,
                       .bf16 = dx->dtype == DTYPE_BF16};
    NormEnd norm_end = {.gamma = c->in[DX_GAMMA].data,
                        .n = k,
                        .x = x->data,
                        .x_bf16 = end.x_bf16,
                        .dx = dx->data,
                        .dx_bf16 = end.bf16,
                        .add = end.add};
    bool plain = operand_is_plain(&left, pairs);
    for (int64_t t; (t = worker_next(worker, tiles)) < tiles;) {
        int64_t first = t * tile, count = least(tile, rows - first);
        for (int64_t i = 0; i < count && !plain; i++)
            operand_row_units(&left, first + i, pairs, own + i * stride);
        const Unit *a = plain ? (const Unit *)operand_row(&left, first) : own;
        int64_t lda = plain ? units : stride;
        /* Behind LayerNorm dx is written by whole rows, later. */
        const Ahead ahead[2] = {{x->data ? number_at(x->data, end.x_bf16, first * k) : NULL, end.x_bf16, k},
                                {norm && !end.add ? NULL : number_at(dx->data, end.bf16, first * k), end.bf16, k}};
        if (!norm) {
            end.first_row = first;
            multiply_tile(a, lda, count, units, pairs, packed, k, ahead, backward_end, &end);
            continue;
        }
        multiply_tile(a, lda, count, units, pairs, packed, k, ahead, store_end, &(StoreEnd){gradient, padded});
        norm_end.dgamma = partial + t * 2 * k;
        norm_end.dbeta = norm_end.dgamma + k;
        memset(norm_end.dgamma, 0, (size_t)(2 * k) * sizeof(float));
        for (int64_t i = 0; i < count; i++)
            norm_row(&norm_end, gradient + i * padded, stats + 2 * (first + i), first + i);
    }
    if (!norm)
        return;
    worker_sync(worker);
    for (Span s; span_next(worker, SLICE, k, &s);)
        for (int out = DX_DGAMMA; out <= DX_DBETA; out++)
            if (c->out[out].data)
                partials_add(partial + (out - DX_DGAMMA) * k, tiles, 2 * k, s, c->out[out].data, call_accumulates(c, out));
}
