#include "ops/bf16.h"
#include "ops/gather/work.h"
#include "ops/row.h"

CPU_DECLARE(gather);
CPU_DECLARE(gather_grad);

/* ---- numbers that may be bf16. `half` is a constant wherever these are called, so each loop exists for both types. */

typedef uint32_t VecU __attribute__((vector_size(LANES * sizeof(uint32_t))));
typedef uint16_t VecHalf __attribute__((vector_size(LANES * sizeof(uint16_t))));
typedef uint16_t VecHalfLoose __attribute__((vector_size(LANES * sizeof(uint16_t)), aligned(2), may_alias));

/* Row `row` of n numbers, from a column on. */
static inline void *at(const Tensor *t, int64_t row, int64_t column, bool half)
{
    return (char *)t->data + (size_t)(row * t->columns + column) * (half ? sizeof(uint16_t) : sizeof(float));
}

/* Numbers i.. of a row of which n > i are there; zeros after its end. */
static inline Vec numbers_read(const void *row, int64_t i, int64_t n, bool half)
{
    if (!half)
        return vec_read((const float *)row + i, n - i);
    VecHalf bits = {0};
    if (n - i >= LANES)
        bits = *(const VecHalfLoose *)((const uint16_t *)row + i);
    else
        memcpy(&bits, (const uint16_t *)row + i, (size_t)(n - i) * sizeof(uint16_t));
    return (Vec)(__builtin_convertvector(bits, VecU) << 16);
}

/* As bf16_from_float(). */
static inline void numbers_write(void *row, int64_t i, int64_t n, Vec v, bool half)
{
    if (!half) {
        vec_write((float *)row + i, v, n - i);
        return;
    }
    VecU bits = (VecU)v, odd = (VecU)(v != v);
    VecHalf rounded =
        __builtin_convertvector((((bits + 0x7fff + (bits >> 16 & 1)) & ~odd) | ((bits | 0x400000) & odd)) >> 16, VecHalf);
    if (n - i >= LANES)
        *(VecHalfLoose *)((uint16_t *)row + i) = rounded;
    else
        memcpy((uint16_t *)row + i, &rounded, (size_t)(n - i) * sizeof(uint16_t));
}

static inline void row_take(void *to, const void *from, int64_t n, bool half)
{
    if (half)
        memcpy(to, from, (size_t)n * sizeof(uint16_t));
    else
        row_copy(to, from, n);
}

/* ---- y */

static inline void rows_gather(const Call *c, Span rows, bool half)
{
    int64_t n = c->out[0].columns;
    const int32_t *index = c->in[1].data, *place = c->in[4].data;
    for (int64_t row = rows.first; row < rows.end; row++) {
        int64_t source = index ? index[row] : row;
        const void *from = source >= 0 ? at(&c->in[0], source, 0, half) : at(&c->in[2], -1 - source, 0, half);
        if (half || !c->in[3].data) {
            row_take(at(&c->out[0], row, 0, half), from, n, half);
            continue;
        }
        const float *x = from, *more = at(&c->in[3], place ? place[row] : row % c->in[3].rows, 0, false);
        float *to = at(&c->out[0], row, 0, false);
        for (int64_t i = 0; i < n; i += LANES)
            vec_write(to + i, vec_read(x + i, n - i) + vec_read(more + i, n - i), n - i);
    }
}

void CPU(gather)(const Call *c, Worker *w)
{
    bool half = c->out[0].dtype == DTYPE_BF16;
    for (Span s; span_next(w, tile_rows(c->out[0].columns), c->out[0].rows, &s);)
        if (half)
            rows_gather(c, s, true);
        else
            rows_gather(c, s, false);
}

/* ---- gradient; in: dy, index, inverse, place; out: dx, dtokens, dtable */

static inline void rows_of_x(const Call *c, Span rows, bool half)
{
    const int32_t *inverse = c->in[2].data;
    int64_t n = c->in[0].columns;
    for (int64_t row = rows.first; row < rows.end; row++) {
        int64_t source = inverse ? inverse[row] : row;
        void *dx = at(&c->out[0], row, 0, half);
        if (source < 0) {
            if (!call_accumulates(c, 0))
                memset(dx, 0, (size_t)n * (half ? sizeof(uint16_t) : sizeof(float)));
            continue;
        }
        const void *dy = at(&c->in[0], source, 0, half);
        if (!call_accumulates(c, 0)) {
            row_take(dx, dy, n, half);
            continue;
        }
        for (int64_t i = 0; i < n; i += LANES)
            numbers_write(dx, i, n, numbers_read(dx, i, n, half) + numbers_read(dy, i, n, half), half);
    }
}

/* to += `count` <= 4 rows. Four at a time, as one would read and write `to` as often as it reads dy. */
static inline void rows_add(float *to, const void *const from[4], int count, int64_t n, bool half)
{
    if (count == 4) {
        for (int64_t i = 0; i < n; i += LANES) {
            Vec even = numbers_read(from[0], i, n, half) + numbers_read(from[1], i, n, half),
                odd = numbers_read(from[2], i, n, half) + numbers_read(from[3], i, n, half);
            vec_put(to + i, even + odd, n - i, true);
        }
        return;
    }
    for (int k = 0; k < count; k++)
        for (int64_t i = 0; i < n; i += LANES)
            vec_put(to + i, numbers_read(from[k], i, n, half), n - i, true);
}

/* Rows on their way to one sum. */
typedef struct {
    float *to;
    const void *from[4];
    int count;
} Waiting;

static inline void waiting_flush(Waiting *w, int64_t n, bool half)
{
    rows_add(w->to, w->from, w->count, n, half);
    w->count = 0;
}

static inline void waiting_add(Waiting *w, float *to, const void *from, int64_t n, bool half)
{
    if (w->to != to || w->count == 4)
        waiting_flush(w, n, half);
    w->to = to;
    w->from[w->count++] = from;
}

/* What these rows and columns of dy add to dtokens. */
static inline void part_of_tokens(const Call *c, Span rows, Span columns, float *partial, bool half)
{
    const int32_t *index = c->in[1].data;
    int64_t n = c->in[0].columns, width = columns.end - columns.first;
    Waiting waiting = {0};
    partial += columns.first;
    for (int64_t k = 0; k < c->out[1].rows; k++)
        memset(partial + k * n, 0, (size_t)width * sizeof *partial);
    for (int64_t row = rows.first; row < rows.end; row++)
        if (index[row] < 0)
            waiting_add(&waiting, partial + (-1 - (int64_t)index[row]) * n, at(&c->in[0], row, columns.first, half), width,
                        half);
    waiting_flush(&waiting, width, half);
}

/* Numbers of dtokens, from all partial sums in their order. */
static void tokens_finish(const Call *c, const float *partial, int64_t spans, Span numbers)
{
    int64_t count = c->out[1].rows * c->in[0].columns;
    if (c->out[1].dtype != DTYPE_BF16) {
        partials_add(partial, spans, count, numbers, c->out[1].data, call_accumulates(c, 1));
        return;
    }
    void *to = c->out[1].data;
    for (int64_t i = numbers.first; i < numbers.end; i += LANES) {
        Vec sum = call_accumulates(c, 1) ? numbers_read(to, i, numbers.end, true) : (Vec){0};
        for (int64_t s = 0; s < spans; s++)
            sum += vec_read(partial + s * count + i, numbers.end - i);
        numbers_write(to, i, numbers.end, sum, true);
    }
}

/* Some rows and columns of dtable, in full. */
static void part_of_table(const Call *c, Span places, Span columns)
{
    const int32_t *place = c->in[3].data;
    const float *dy = (const float *)c->in[0].data + columns.first;
    float *to = (float *)c->out[2].data + columns.first;
    int64_t n = c->in[0].columns, rows = c->in[0].rows, period = c->out[2].rows, width = columns.end - columns.first;
    for (int64_t p = places.first; p < places.end && !call_accumulates(c, 2); p++)
        memset(to + p * n, 0, (size_t)width * sizeof *to);
    if (place) {
        for (int64_t row = 0; row < rows; row++)
            if (place[row] >= places.first && place[row] < places.end)
                row_add(to + place[row] * n, dy + row * n, width);
        return;
    }
    for (int64_t first = 0; first < rows; first += 4 * period)
        for (int64_t p = places.first; p < places.end; p++) {
            Waiting waiting = {0};
            for (int64_t row = first + p; row < least(rows, first + 4 * period); row += period)
                waiting_add(&waiting, to + p * n, dy + row * n, width, false);
            waiting_flush(&waiting, width, false);
        }
}

void CPU(gather_grad)(const Call *c, Worker *w)
{
    /* Each part of a table reads all of `place`, so there are few parts; a table of few rows is cut by columns too. */
    enum { PARTS = 16, SLICE = 128 };
    bool half = c->in[0].dtype == DTYPE_BF16;
    int64_t n = c->in[0].columns, rows = c->in[0].rows, tokens = c->out[1].data ? c->out[1].rows : 0, table = c->out[2].rows;
    float *partial = c->work;
    int64_t spans = tokens ? gather_spans(rows, tokens) : 0, step = spans ? pieces(rows, spans) : 1, slices = pieces(n, SLICE),
            part = pieces(table, PARTS), slice = table < PARTS ? SLICE : n;
    int64_t token_pieces = spans * slices, table_pieces = c->out[2].data ? pieces(table, part) * pieces(n, slice) : 0,
            x_pieces = c->out[0].data ? pieces(c->out[0].rows, tile_rows(n)) : 0;
    /* The largest first. */
    for (int64_t t; (t = worker_next(w)) < token_pieces + table_pieces + x_pieces;) {
        int64_t table_piece = t - token_pieces, x_piece = table_piece - table_pieces;
        Span columns = span_piece(t % slices, SLICE, n);
        if (table_piece < 0 && half)
            part_of_tokens(c, span_piece(t / slices, step, rows), columns, partial + t / slices * tokens * n, true);
        else if (table_piece < 0)
            part_of_tokens(c, span_piece(t / slices, step, rows), columns, partial + t / slices * tokens * n, false);
        else if (x_piece < 0)
            part_of_table(c, span_piece(table_piece / pieces(n, slice), part, table),
                          span_piece(table_piece % pieces(n, slice), slice, n));
        else if (half)
            rows_of_x(c, span_piece(x_piece, tile_rows(n), c->out[0].rows), true);
        else
            rows_of_x(c, span_piece(x_piece, tile_rows(n), c->out[0].rows), false);
    }
    if (!tokens)
        return;
    worker_sync(w);
    for (Span s; span_next(w, SLICE, tokens * n, &s);)
        tokens_finish(c, partial, spans, s);
}
