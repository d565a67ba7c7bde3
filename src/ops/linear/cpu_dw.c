/* dW = (scales dy)^T prologue(x): the sums go down the rows. Rows are taken in chunks that the caches hold. All threads pack a
 * chunk of both operands, then multiply it: tasks of a panel of dW's columns. While a chunk is multiplied the next is packed.
 */
#include "ops/linear/tile.h"

CPU_DECLARE(linear_dw);

enum {
    LEFT = (MR + LANES - 1) / LANES * LANES, /* units from one row of a packed block of dy to the next; MR of them are used */
    TASK_BLOCKS = 16                         /* blocks of MR rows of dW that a task takes at most */
};

/* Where a chunk is packed: panels of NR columns of x, blocks of MR columns of dy. */
typedef struct {
    int64_t first, rows, units;
    Unit *right, *left;
} Chunk;

/* Two rows (or one, in f32) on their way into panels. */
typedef struct {
    const void *row[2];
    const float *stats[2];
    float factor[2];
    bool second;
} RowPair;

/* One vector of units from column j on, of which n are left. */
static inline __attribute__((always_inline)) Vec pack_units(const Operand *o, const RowPair *r, int64_t j, int64_t n,
                                                            bool pairs, const Prologue prologue, const bool bf16)
{
    Vec x = operand_read(o, r->row[0], r->stats[0], j, n, prologue, bf16, pairs), y = {0};
    if (r->second)
        y = operand_read(o, r->row[1], r->stats[1], j, n, prologue, bf16, pairs);
    if (o->group) {
        x *= r->factor[0];
        y *= r->factor[1];
    }
    return pairs ? unit_pair(x, y) : x;
}

static inline __attribute__((always_inline)) void pack_rows_of(const Operand *context, int64_t first, int64_t rows,
                                                               int64_t unit, int64_t units, const int64_t width,
                                                               const int64_t stride, Unit *to, bool pairs,
                                                               const Prologue prologue, const bool bf16)
{
    const Operand o = *context;
    int64_t n = o.columns, step = pairs ? 2 : 1, bytes = n * (bf16 ? 2 : 4);
    for (int64_t r = 0; r < rows; r += step, unit++) {
        RowPair pair = {.second = pairs && r + 1 < rows};
        for (int k = 0; k < (pair.second ? 2 : 1); k++) {
            pair.row[k] = operand_row(&o, first + r + k);
            pair.stats[k] = o.stats ? o.stats + 2 * (first + r + k) : NULL;
            pair.factor[k] = operand_factor(&o, first + r + k);
        }
        float *row = (float *)to + unit * stride;
        int64_t j = 0;
        for (; j + stride <= n; j += width, row += units * stride) {
            /* The rows after the next: memory answers late. */
            for (int64_t ahead = 2 * step; ahead < 3 * step && r + ahead < rows; ahead++)
                __builtin_prefetch((const char *)pair.row[0] + ahead * bytes + j * (bf16 ? 2 : 4));
#pragma GCC unroll 2
            for (int64_t v = 0; v < stride; v += LANES)
                vec_store(row + v, pack_units(&o, &pair, j + v, LANES, pairs, prologue, bf16));
        }
        for (; j < n; j += width, row += units * stride)
            for (int64_t v = 0; v < stride; v += LANES)
                vec_store(row + v, j + v < n ? pack_units(&o, &pair, j + v, n - j - v, pairs, prologue, bf16) : (Vec){0});
    }
}

/* Rows first.. of an operand as panels of `width` columns, `stride` units a row. */
#define PACK_ROWS(name, width, stride)                                                                                 \
    static void name(const Operand *o, int64_t first, int64_t rows, int64_t unit, int64_t units, Unit *to, bool pairs) \
    {                                                                                                                  \
        if (pairs)                                                                                                     \
            OPERAND_CASES(pack_rows_of, o, first, rows, unit, units, width, stride, to, true)                          \
        else                                                                                                           \
            OPERAND_CASES(pack_rows_of, o, first, rows, unit, units, width, stride, to, false)                         \
    }
PACK_ROWS(pack_right, NR, NR)
PACK_ROWS(pack_left, MR, LEFT)

/* to = the sums of dy's rows first.. */
static inline __attribute__((always_inline)) void sum_rows_of(const Operand *dy, int64_t first, int64_t rows, const bool bf16,
                                                              float *to)
{
    int64_t n = dy->columns;
    for (int64_t j = 0; j < n; j += LANES) {
        Vec sum = {0};
        const char *row = operand_row(dy, first);
        for (int64_t r = 0; r < rows; r++, row += n * (bf16 ? 2 : 4)) {
            Vec x = number_read(row, bf16, j, n - j);
            sum += dy->group ? x * operand_factor(dy, first + r) : x;
        }
        vec_write(to + j, sum, n - j);
    }
}

static void sum_rows(const Operand *dy, int64_t first, int64_t rows, float *to)
{
    if (dy->bf16)
        sum_rows_of(dy, first, rows, true, to);
    else
        sum_rows_of(dy, first, rows, false, to);
}

/* One panel of dW's columns, blocks `first`..`end` - 1 of its rows. */
static void multiply_blocks(const Chunk *chunk, int64_t panel, Span blocks, int64_t n, int64_t k, bool pairs, bool add,
                            float *to)
{
    _Alignas(64) float block[MR * NR];
    int64_t column = panel * NR, width = least(NR, k - column);
    for (int64_t b = blocks.first; b < blocks.end; b++) {
        int64_t row = b * MR;
        int count = (int)least(MR, n - row);
        float *sums = to + row * k + column;
        Product product = {.depth = chunk->units,
                           .a = chunk->left + b * chunk->units * LEFT,
                           .lda = LEFT,
                           .b = chunk->right + panel * chunk->units * NR,
                           .c = width == NR ? sums : block,
                           .ldc = width == NR ? k : NR,
                           .add = width == NR && add,
                           .pairs = pairs};
        product_columns(&product, count, width > LANES);
        for (int i = 0; i < count && width < NR; i++)
            for (int64_t j = 0; j < width; j += LANES)
                vec_put(sums + i * k + j, vec_load(block + i * NR + j), width - j, add);
    }
}

/* With a column scale s the sums G are those without it: dW = s G and ds_j = sum_k W_jk G_jk + b_j g_j (see ref.c). */
static void finish_scaled(const Call *c, Span rows, const float *sums, const float *dy_sums)
{
    int64_t k = c->in[DW_X].columns;
    const float *column = c->in[DW_COLUMN_SCALE].data, *w = c->in[DW_W].data, *b = c->in[DW_B].data;
    float *dw = c->out[DW_DW].data, *dcolumn = c->out[DW_DCOLUMN].data;
    for (int64_t j = rows.first; j < rows.end; j++) {
        Vec sum = {0};
        for (int64_t i = 0; i < k; i += LANES) {
            Vec g = vec_read(sums + j * k + i, k - i);
            if (dw)
                vec_put(dw + j * k + i, g * column[j], k - i, call_accumulates(c, DW_DW));
            if (dcolumn)
                sum += g * vec_read(w + j * k + i, k - i);
        }
        if (dcolumn)
            dcolumn[j] = (call_accumulates(c, DW_DCOLUMN) ? dcolumn[j] : 0) + vec_sum(sum) + (b ? b[j] * dy_sums[j] : 0);
    }
}

void CPU(linear_dw)(const Call *c, Worker *worker)
{
    enum { SLICE = 64, SCALED_ROWS = 16 };
    const LinearAttr *attr = c->attr;
    const Tensor *x = &c->in[DW_X], *dy = &c->in[DW_DY];
    bool pairs = HAS_PAIRS && attr->bf16;
    int64_t rows = x->rows, k = x->columns, n = dy->columns;
    int64_t chunks = dw_chunks(rows, pairs), chunk_rows = dw_chunk_rows(rows, pairs);
    int64_t units = linear_units(chunk_rows, pairs), right = units * linear_padded(k),
            left = units * dw_left_width(n, MR, LANES);
    int64_t buffers = chunks > 1 ? 2 : 1;
    Unit *packed = c->work;
    float *partial = (float *)packed + buffers * (right + left), *scaled = partial + pieces(rows, DW_ROWS) * n;
    bool has_column = c->in[DW_COLUMN_SCALE].data != NULL, products = c->out[DW_DW].data || c->out[DW_DCOLUMN].data,
         sums = c->out[DW_DB].data || c->out[DW_DCOLUMN].data;
    float *to = has_column ? scaled : c->out[DW_DW].data;
    const float *group = c->in[DW_ROW_SCALE].data;
    int64_t per_group = group ? rows / c->in[DW_ROW_SCALE].columns : 1;
    Operand operand_x = {.data = x->data,
                         .bf16 = x->dtype == DTYPE_BF16,
                         .columns = k,
                         .prologue = attr->prologue,
                         .stats = c->in[DW_STATS].data,
                         .gamma = c->in[DW_GAMMA].data,
                         .beta = c->in[DW_BETA].data,
                         .group = group,
                         .per_group = per_group};
    /* The factors of the rows are in x already. */
    Operand operand_dy = {.data = dy->data, .bf16 = dy->dtype == DTYPE_BF16, .columns = n},
            summed = {.data = dy->data, .bf16 = operand_dy.bf16, .columns = n, .group = group, .per_group = per_group};
    int64_t panels = pieces(k, NR), blocks = pieces(n, MR), stacks = pieces(blocks, TASK_BLOCKS), tall = pieces(blocks, stacks);
    Chunk before = {0};
    for (int64_t at = 0; at <= chunks; at++) {
        Chunk next = {.first = at * chunk_rows, .right = packed + at % 2 * (right + left)};
        next.left = next.right + right;
        next.rows = least(chunk_rows, rows - next.first);
        next.rows = next.rows < 0 ? 0 : next.rows;
        next.units = linear_units(next.rows, pairs);
        int64_t packs = pieces(next.rows, DW_ROWS), multiplies = products && before.rows ? panels * stacks : 0;
        for (int64_t t; (t = worker_next(worker)) < multiplies + packs;) {
            if (t < multiplies) {
                multiply_blocks(&before, t % panels, span_piece(t / panels, tall, blocks), n, k, pairs,
                                before.first > 0 || (!has_column && call_accumulates(c, DW_DW)), to);
                continue;
            }
            Span s = span_piece(t - multiplies, DW_ROWS, next.rows);
            int64_t first = next.first + s.first, unit = linear_units(s.first, pairs);
            if (products) {
                pack_right(&operand_x, first, s.end - s.first, unit, next.units, next.right, pairs);
                pack_left(&operand_dy, first, s.end - s.first, unit, next.units, next.left, pairs);
            }
            if (sums)
                sum_rows(&summed, first, s.end - s.first, partial + first / DW_ROWS * n);
        }
        before = next;
        worker_sync(worker);
    }
    if (!sums && !has_column)
        return;
    const float *column = c->in[DW_COLUMN_SCALE].data;
    float *db = c->out[DW_DB].data;
    /* The sums of dy come to lie in the first partial row. */
    for (Span s; span_next(worker, SLICE, n, &s) && sums;) {
        partials_add(partial, pieces(rows, DW_ROWS), n, s, partial, false);
        for (int64_t j = s.first; j < s.end && db; j++)
            db[j] = (call_accumulates(c, DW_DB) ? db[j] : 0) + partial[j] * (column ? column[j] : 1);
    }
    worker_sync(worker);
    for (Span s; has_column && span_next(worker, SCALED_ROWS, n, &s);)
        finish_scaled(c, s, scaled, partial);
}
