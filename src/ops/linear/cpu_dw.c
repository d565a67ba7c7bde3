/* dW = (scales dy)^T prologue(x): the sums go down the rows. dW is cut into one part a thread. For its part a thread takes the
 * rows in chunks, packs its columns of x, then its columns of dy by stacks of blocks, and multiplies while all of it is in its
 * own cache. Each number of dW is the same sum in the same order, however dW is cut. */
#include "ops/linear/tile.h"

CPU_DECLARE(linear_dw);

/* Units from one row of a packed block of dy to the next; MR of them are used. */
enum { LEFT = (MR + LANES - 1) / LANES * LANES, FETCH_ROWS = 6 /* rows are fetched that far ahead */ };

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

static inline void fetch_row(const Operand *o, int64_t row, Span columns)
{
    const char *from = operand_row(o, row), *end = number_at(from, o->bf16, columns.end);
    for (from = number_at(from, o->bf16, columns.first); from < end; from += 64)
        __builtin_prefetch(from);
}

/* Columns `columns` of rows first.. as panels of `width` columns, `stride` units a row. */
static inline __attribute__((always_inline)) void pack_rows_of(const Operand *context, int64_t first, int64_t rows,
                                                               Span columns, const int64_t width, const int64_t stride,
                                                               Unit *to, bool pairs, const Prologue prologue, const bool bf16)
{
    const Operand o = *context;
    const int64_t step = pairs ? 2 : 1, pitch = dw_pitch(unit_count(rows, pairs)) * stride;
    for (int64_t r = 0; r < rows; r += step) {
        RowPair pair = {.second = pairs && r + 1 < rows};
        for (int k = 0; k < (pair.second ? 2 : 1); k++) {
            pair.row[k] = operand_row(&o, first + r + k);
            pair.stats[k] = o.stats ? o.stats + 2 * (first + r + k) : NULL;
            pair.factor[k] = operand_factor(&o, first + r + k);
        }
        float *row = (float *)to + r / step * stride;
        /* Rows are too short for the processor to see where they go on. */
        for (int64_t k = FETCH_ROWS; k < FETCH_ROWS + step && r + k < rows; k++)
            fetch_row(&o, first + r + k, columns);
        int64_t j = columns.first;
        for (; j + stride <= columns.end; j += width, row += pitch)
#pragma GCC unroll 2
            for (int64_t v = 0; v < stride; v += LANES)
                vec_store(row + v, pack_units(&o, &pair, j + v, LANES, pairs, prologue, bf16));
        for (; j < columns.end; j += width, row += pitch)
            for (int64_t v = 0; v < stride; v += LANES) {
                int64_t left = columns.end - j - v;
                vec_store(row + v, left > 0 ? pack_units(&o, &pair, j + v, left, pairs, prologue, bf16) : (Vec){0});
            }
    }
}

#define PACK_ROWS(name, width, stride)                                                                  \
    static void name(const Operand *o, int64_t first, int64_t rows, Span columns, Unit *to, bool pairs) \
    {                                                                                                   \
        if (pairs)                                                                                      \
            OPERAND_CASES(pack_rows_of, o, first, rows, columns, width, stride, to, true)               \
        else                                                                                            \
            OPERAND_CASES(pack_rows_of, o, first, rows, columns, width, stride, to, false)              \
    }
PACK_ROWS(pack_right, NR, NR)
PACK_ROWS(pack_left, MR, LEFT)

/* to (+)= the sums of dy's rows first.., of some columns. */
static inline __attribute__((always_inline)) void sum_rows_of(const Operand *dy, int64_t first, int64_t rows, Span columns,
                                                              const bool bf16, float *to)
{
    for (int64_t j = columns.first; j < columns.end; j += LANES) {
        Vec sum = {0};
        const char *row = operand_row(dy, first);
        for (int64_t r = 0; r < rows; r++, row += dy->columns * (bf16 ? 2 : 4)) {
            Vec x = number_read(row, bf16, j, columns.end - j);
            sum += dy->group ? x * operand_factor(dy, first + r) : x;
        }
        vec_put(to + j, sum, columns.end - j, first > 0);
    }
}

static void sum_rows(const Operand *dy, int64_t first, int64_t rows, Span columns, float *to)
{
    if (dy->bf16)
        sum_rows_of(dy, first, rows, columns, true, to);
    else
        sum_rows_of(dy, first, rows, columns, false, to);
}

/* One block of MR rows of dW, one panel of its columns, from packed units. */
typedef struct {
    int64_t row, rows, column, columns; /* in dW */
    int64_t units;
    const Unit *left, *right;
    bool pairs, add;
} Block;

static void multiply_block(const Block *b, float *to, int64_t k)
{
    _Alignas(64) float block[MR * NR];
    float *sums = to + b->row * k + b->column;
    bool whole = b->columns == NR;
    Product product = {.depth = b->units,
                       .a = b->left,
                       .lda = LEFT,
                       .b = b->right,
                       .c = whole ? sums : block,
                       .ldc = whole ? k : NR,
                       .add = whole && b->add,
                       .pairs = b->pairs};
    product_columns(&product, (int)b->rows, b->columns > LANES);
    for (int64_t i = 0; i < b->rows && !whole; i++)
        for (int64_t j = 0; j < b->columns; j += LANES)
            vec_put(sums + i * k + j, vec_load(block + i * NR + j), b->columns - j, b->add);
}

/* How dW is cut: `down` x `across` parts of blocks of MR rows and panels of NR columns. */
typedef struct {
    int64_t blocks, panels, down, across;
} Cut;

/* Into `parts` parts, if blocks and panels can be; dy is packed `across` times and x, which costs more a number, `down` times.
 * False when there is no such cut. */
static bool cut_into(int parts, int64_t n, int64_t k, Cut *cut)
{
    int64_t least_cost = INT64_MAX;
    for (int64_t down = 1; down <= parts; down++) {
        int64_t across = parts / down;
        if (down * across != parts || down > cut->blocks || across > cut->panels)
            continue;
        /* Parts are not of one size; all wait for the largest. */
        int64_t uneven = pieces(cut->blocks, down) * down * pieces(cut->panels, across) * across - cut->blocks * cut->panels;
        int64_t cost = n * across + 2 * k * down + LEFT * uneven;
        if (cost < least_cost) {
            least_cost = cost;
            cut->down = down;
            cut->across = across;
        }
    }
    return least_cost < INT64_MAX;
}

/* One part a thread, or as many as there can be. */
static Cut cut_for(int64_t n, int64_t k, int threads)
{
    Cut cut = {.blocks = pieces(n, MR), .panels = pieces(k, NR)};
    int parts = (int)least(threads, cut.blocks * cut.panels);
    while (!cut_into(parts, n, k, &cut))
        parts--;
    return cut;
}

/* What a part needs. */
typedef struct {
    Operand x, dy, summed; /* summed: dy with the rows' factors, which products find in x */
    int64_t rows, n, k, chunk_rows;
    bool pairs, adds;
    float *to;      /* (n, k), or NULL when no products are wanted */
    float *dy_sums; /* (n), or NULL */
} Products;

/* Rows `blocks` and columns `panels` of dW, whose columns are no more than DW_STRIP. */
static void make_strip(const Products *p, Span blocks, Span panels, Unit *right, Unit *left)
{
    Span columns = {panels.first * NR, least(p->k, panels.end * NR)};
    for (int64_t first = 0; first < p->rows; first += p->chunk_rows) {
        int64_t rows = least(p->chunk_rows, p->rows - first), units = unit_count(rows, p->pairs), pitch = dw_pitch(units);
        if (p->to)
            pack_right(&p->x, first, rows, columns, right, p->pairs);
        for (int64_t b = blocks.first; b < blocks.end; b += DW_STACK) {
            Span stack = {b, least(b + DW_STACK, blocks.end)}, lines = {stack.first * MR, least(p->n, stack.end * MR)};
            if (p->to)
                pack_left(&p->dy, first, rows, lines, left, p->pairs);
            if (p->dy_sums && panels.first == 0)
                sum_rows(&p->summed, first, rows, lines, p->dy_sums);
            for (int64_t panel = panels.first; p->to && panel < panels.end; panel++)
                for (int64_t a = stack.first; a < stack.end; a++)
                    multiply_block(&(Block){.row = a * MR,
                                            .rows = least(MR, p->n - a * MR),
                                            .column = panel * NR,
                                            .columns = least(NR, p->k - panel * NR),
                                            .units = units,
                                            .left = left + (a - stack.first) * pitch * LEFT,
                                            .right = right + (panel - panels.first) * pitch * NR,
                                            .pairs = p->pairs,
                                            .add = first > 0 || p->adds},
                                   p->to, p->k);
        }
    }
}

static void make_part(const Products *p, const Cut *cut, int64_t part, Unit *right, Unit *left)
{
    int64_t i = part / cut->across, j = part % cut->across;
    Span blocks = {i * cut->blocks / cut->down, (i + 1) * cut->blocks / cut->down},
         panels = {j * cut->panels / cut->across, (j + 1) * cut->panels / cut->across};
    int64_t strips = pieces(panels.end - panels.first, DW_STRIP / NR), width = panels.end - panels.first;
    for (int64_t s = 0; s < strips; s++)
        make_strip(p, blocks, (Span){panels.first + s * width / strips, panels.first + (s + 1) * width / strips}, right, left);
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
    enum { SCALED_ROWS = 16 };
    const LinearAttr *attr = c->attr;
    const Tensor *x = &c->in[DW_X], *dy = &c->in[DW_DY];
    bool pairs = HAS_PAIRS && attr->bf16, scaled = c->in[DW_COLUMN_SCALE].data != NULL;
    int64_t rows = x->rows, k = x->columns, n = dy->columns, chunk_rows = dw_chunk_rows(rows, pairs);
    int64_t pitch = dw_pitch(unit_count(chunk_rows, pairs)), room = dw_room(k, pitch);
    Unit *right = (Unit *)c->work + worker->thread * room;
    float *dy_sums = (float *)c->work + worker->threads * room, *sums = dy_sums + n, *db = c->out[DW_DB].data;
    const float *group = c->in[DW_ROW_SCALE].data, *column = c->in[DW_COLUMN_SCALE].data;
    Products products = {.x = {.data = x->data,
                               .bf16 = x->dtype == DTYPE_BF16,
                               .columns = k,
                               .prologue = attr->prologue,
                               .stats = c->in[DW_STATS].data,
                               .gamma = c->in[DW_GAMMA].data,
                               .beta = c->in[DW_BETA].data,
                               .group = group,
                               .per_group = group ? rows / c->in[DW_ROW_SCALE].columns : 1},
                         .dy = {.data = dy->data, .bf16 = dy->dtype == DTYPE_BF16, .columns = n},
                         .rows = rows,
                         .n = n,
                         .k = k,
                         .chunk_rows = chunk_rows,
                         .pairs = pairs,
                         .adds = !scaled && call_accumulates(c, DW_DW),
                         .to = scaled ? sums : c->out[DW_DW].data,
                         .dy_sums = db || scaled ? dy_sums : NULL};
    products.summed = products.dy;
    products.summed.group = group;
    products.summed.per_group = products.x.per_group;
    Cut cut = cut_for(n, k, worker->threads);
    for (int64_t part; (part = worker_next(worker, cut.down * cut.across)) < cut.down * cut.across;)
        make_part(&products, &cut, part, right, right + room - pitch * DW_STACK * 16);
    if (!products.dy_sums)
        return;
    worker_sync(worker);
    for (Span s; span_next(worker, SCALED_ROWS, n, &s);) {
        for (int64_t j = s.first; j < s.end && db; j++)
            db[j] = (call_accumulates(c, DW_DB) ? db[j] : 0) + dy_sums[j] * (column ? column[j] : 1);
        if (scaled)
            finish_scaled(c, s, sums, dy_sums);
    }
}
