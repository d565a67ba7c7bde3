#include "ops/gather/work.h"
#include "ops/row.h"

CPU_DECLARE(gather);
CPU_DECLARE(gather_grad);

void CPU(gather)(const Call *c, Worker *w)
{
    int64_t n = c->out[0].columns;
    const int32_t *index = c->in[1].data, *place = c->in[4].data;
    const float *x = c->in[0].data, *tokens = c->in[2].data, *table = c->in[3].data;
    float *y = c->out[0].data;
    for (Span s; span_next(w, tile_rows(n), c->out[0].rows, &s);)
        for (int64_t row = s.first; row < s.end; row++) {
            int64_t at = index ? index[row] : row;
            const float *from = at >= 0 ? x + at * n : tokens + (-1 - at) * n;
            float *to = y + row * n;
            if (!table) {
                row_copy(to, from, n);
                continue;
            }
            const float *more = table + (place ? place[row] : row % c->in[3].rows) * n;
            for (int64_t i = 0; i < n; i += LANES)
                vec_write(to + i, vec_read(from + i, n - i) + vec_read(more + i, n - i), n - i);
        }
}

/* ---- gradient; in: dy, index, inverse, place; out: dx, dtokens, dtable */

static void rows_of_x(const Call *c, Span rows)
{
    const int32_t *inverse = c->in[2].data;
    const float *dy = c->in[0].data;
    int64_t n = c->in[0].columns;
    for (int64_t row = rows.first; row < rows.end; row++) {
        int64_t from = inverse ? inverse[row] : row;
        float *dx = (float *)c->out[0].data + row * n;
        if (call_accumulates(c, 0)) {
            if (from >= 0)
                row_add(dx, dy + from * n, n);
        } else if (from >= 0) {
            row_copy(dx, dy + from * n, n);
        } else {
            memset(dx, 0, (size_t)n * sizeof *dx);
        }
    }
}

/* to += four rows. Four at a time, as one would read and write `to` as often as it reads dy. */
static void row_add_four(float *to, const float *const from[4], int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES) {
        Vec even = vec_read(from[0] + i, n - i) + vec_read(from[1] + i, n - i),
            odd = vec_read(from[2] + i, n - i) + vec_read(from[3] + i, n - i);
        vec_put(to + i, even + odd, n - i, true);
    }
}

/* Rows on their way to one sum. */
typedef struct {
    float *to;
    const float *from[4];
    int count;
} Waiting;

static void waiting_flush(Waiting *w, int64_t n)
{
    for (int i = 0; i < w->count; i++)
        row_add(w->to, w->from[i], n);
    w->count = 0;
}

static void waiting_add(Waiting *w, float *to, const float *from, int64_t n)
{
    if (w->to != to)
        waiting_flush(w, n);
    w->to = to;
    w->from[w->count++] = from;
    if (w->count == 4) {
        row_add_four(to, w->from, n);
        w->count = 0;
    }
}

/* What these rows of dy add to dtokens. */
static void rows_of_tokens(const Call *c, Span rows, float *partial)
{
    const int32_t *index = c->in[1].data;
    const float *dy = c->in[0].data;
    int64_t n = c->in[0].columns;
    Waiting waiting = {0};
    memset(partial, 0, (size_t)(c->out[1].rows * n) * sizeof *partial);
    for (int64_t row = rows.first; row < rows.end; row++)
        if (index[row] < 0)
            waiting_add(&waiting, partial + (-1 - (int64_t)index[row]) * n, dy + row * n, n);
    waiting_flush(&waiting, n);
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
                waiting_add(&waiting, to + p * n, dy + row * n, width);
            waiting_flush(&waiting, width);
        }
}

void CPU(gather_grad)(const Call *c, Worker *w)
{
    /* Each part of a table reads all of `place`, so there are few parts; a table of few rows is cut by columns too. */
    enum { PARTS = 16, SLICE = 128 };
    int64_t n = c->in[0].columns, rows = c->in[0].rows, tokens = c->out[1].rows, table = c->out[2].rows;
    float *partial = c->work;
    int64_t step = gather_tile_rows(tokens), part = pieces(table, PARTS), slice = table < PARTS ? SLICE : n;
    int64_t x_pieces = c->out[0].data ? pieces(c->out[0].rows, tile_rows(n)) : 0,
            token_pieces = c->out[1].data && c->in[1].data ? pieces(rows, step) : 0,
            table_pieces = c->out[2].data ? pieces(table, part) * pieces(n, slice) : 0;
    for (int64_t t; (t = worker_next(w)) < x_pieces + token_pieces + table_pieces;) {
        int64_t token_piece = t - x_pieces, table_piece = token_piece - token_pieces;
        if (token_piece < 0)
            rows_of_x(c, span_piece(t, tile_rows(n), c->out[0].rows));
        else if (table_piece < 0)
            rows_of_tokens(c, span_piece(token_piece, step, rows), partial + token_piece * tokens * n);
        else
            part_of_table(c, span_piece(table_piece / pieces(n, slice), part, table),
                          span_piece(table_piece % pieces(n, slice), slice, n));
    }
    if (!c->out[1].data)
        return;
    worker_sync(w);
    for (Span s; span_next(w, SLICE, tokens * n, &s);)
        partials_add(partial, token_pieces, tokens * n, s, c->out[1].data, call_accumulates(c, 1));
}
