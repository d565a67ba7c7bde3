#include "ops/gather/work.h"
#include "ops/unit.h"

CPU_DECLARE(gather);
CPU_DECLARE(gather_grad);

/* ---- numbers that may be bf16. `bf16` is a constant wherever these are called, so each loop exists for both types. */

/* Row `row` of n numbers, from a column on. */
static inline void *at(const Tensor *t, int64_t row, int64_t column, bool bf16)
{
    return number_at(t->data, bf16, row * t->columns + column);
}

static inline void row_take(void *to, const void *from, int64_t n, bool bf16)
{
    if (bf16)
        memcpy(to, from, (size_t)n * sizeof(uint16_t));
    else
        row_copy(to, from, n);
}

/* ---- y */

static inline void rows_gather(const Call *c, Span rows, bool bf16)
{
    int64_t n = c->out[0].columns;
    const int32_t *index = c->in[1].data, *place = c->in[4].data;
    for (int64_t row = rows.first; row < rows.end; row++) {
        int64_t source = index ? index[row] : row;
        const void *from = source >= 0 ? at(&c->in[0], source, 0, bf16) : at(&c->in[2], -1 - source, 0, bf16);
        if (bf16 || !c->in[3].data) {
            row_take(at(&c->out[0], row, 0, bf16), from, n, bf16);
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
    bool bf16 = c->out[0].dtype == DTYPE_BF16;
    for (Span s; span_next(w, tile_rows(c->out[0].columns), c->out[0].rows, &s);)
        if (bf16)
            rows_gather(c, s, true);
        else
            rows_gather(c, s, false);
}

/* ---- gradient; in: dy, index, inverse, place; out: dx, dtokens, dtable */

static inline void rows_of_x(const Call *c, Span rows, bool bf16)
{
    const int32_t *inverse = c->in[2].data;
    int64_t n = c->in[0].columns;
    for (int64_t row = rows.first; row < rows.end; row++) {
        int64_t source = inverse ? inverse[row] : row;
        void *dx = at(&c->out[0], row, 0, bf16);
        if (source < 0) {
            if (!call_accumulates(c, 0))
                memset(dx, 0, (size_t)n * (bf16 ? sizeof(uint16_t) : sizeof(float)));
            continue;
        }
        const void *dy = at(&c->in[0], source, 0, bf16);
        if (!call_accumulates(c, 0)) {
            row_take(dx, dy, n, bf16);
            continue;
        }
        for (int64_t i = 0; i < n; i += LANES)
            number_write(dx, bf16, i, number_read(dx, bf16, i, n - i) + number_read(dy, bf16, i, n - i), n - i);
    }
}

/* to += `count` <= 4 rows. Four at a time, as one would read and write `to` as often as it reads dy. */
static inline void rows_add(float *to, const void *const from[4], int count, int64_t n, bool bf16)
{
    if (count == 4) {
        for (int64_t i = 0; i < n; i += LANES) {
            Vec even = number_read(from[0], bf16, i, n - i) + number_read(from[1], bf16, i, n - i),
                odd = number_read(from[2], bf16, i, n - i) + number_read(from[3], bf16, i, n - i);
            vec_put(to + i, even + odd, n - i, true);
        }
        return;
    }
    for (int k = 0; k < count; k++)
        for (int64_t i = 0; i < n; i += LANES)
            vec_put(to + i, number_read(from[k], bf16, i, n - i), n - i, true);
}

/* Rows on their way to one sum. */
typedef struct {
    float *to;
    const void *from[4];
    int count;
} Waiting;

static inline void waiting_flush(Waiting *w, int64_t n, bool bf16)
{
    rows_add(w->to, w->from, w->count, n, bf16);
    w->count = 0;
}

static inline void waiting_add(Waiting *w, float *to, const void *from, int64_t n, bool bf16)
{
    if (w->to != to || w->count == 4)
        waiting_flush(w, n, bf16);
    w->to = to;
    w->from[w->count++] = from;
}

/* What these rows and columns of dy add to dtokens. */
static inline void part_of_tokens(const Call *c, Span rows, Span columns, float *partial, bool bf16)
{
    const int32_t *index = c->in[1].data;
    int64_t n = c->in[0].columns, width = columns.end - columns.first;
    Waiting waiting = {0};
    partial += columns.first;
    for (int64_t k = 0; k < c->out[1].rows; k++)
        memset(partial + k * n, 0, (size_t)width * sizeof *partial);
    for (int64_t row = rows.first; row < rows.end; row++)
        if (index[row] < 0)
            waiting_add(&waiting, partial + (-1 - (int64_t)index[row]) * n, at(&c->in[0], row, columns.first, bf16), width,
                        bf16);
    waiting_flush(&waiting, width, bf16);
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
        Vec sum = call_accumulates(c, 1) ? number_read(to, true, i, numbers.end - i) : (Vec){0};
        for (int64_t s = 0; s < spans; s++)
            sum += vec_read(partial + s * count + i, numbers.end - i);
        number_write(to, true, i, sum, numbers.end - i);
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
    bool bf16 = c->in[0].dtype == DTYPE_BF16;
    int64_t n = c->in[0].columns, rows = c->in[0].rows, tokens = c->out[1].data ? c->out[1].rows : 0, table = c->out[2].rows;
    float *partial = c->work;
    int64_t spans = tokens ? gather_spans(rows, tokens) : 0, step = spans ? pieces(rows, spans) : 1, slices = pieces(n, SLICE),
            part = pieces(table, PARTS), slice = table < PARTS ? SLICE : n;
    int64_t token_pieces = spans * slices, table_pieces = c->out[2].data ? pieces(table, part) * pieces(n, slice) : 0,
            x_pieces = c->out[0].data ? pieces(c->out[0].rows, tile_rows(n)) : 0;
    /* The largest first. */
    int64_t all = token_pieces + table_pieces + x_pieces;
    for (int64_t t; (t = worker_next(w, all)) < all;) {
        int64_t table_piece = t - token_pieces, x_piece = table_piece - table_pieces;
        Span columns = span_piece(t % slices, SLICE, n);
        if (table_piece < 0 && bf16)
            part_of_tokens(c, span_piece(t / slices, step, rows), columns, partial + t / slices * tokens * n, true);
        else if (table_piece < 0)
            part_of_tokens(c, span_piece(t / slices, step, rows), columns, partial + t / slices * tokens * n, false);
        else if (x_piece < 0)
            part_of_table(c, span_piece(table_piece / pieces(n, slice), part, table),
                          span_piece(table_piece % pieces(n, slice), slice, n));
        else if (bf16)
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
