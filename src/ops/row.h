/* For cpu.c files of ops that read and write rows once: how they are cut into tiles, loads that end anywhere, sums. */
#ifndef LACUNA_OPS_ROW_H
#define LACUNA_OPS_ROW_H

#include "ops/vector.h"

/* Elements of a tile: 32 KB of each value, so that handing out tiles costs nothing beside the memory they move. */
enum { TILE_FLOATS = 8192 };

/* first, first + 1, ... end - 1 */
typedef struct {
    int64_t first, end;
} Span;

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t pieces(int64_t count, int64_t step)
{
    return (count + step - 1) / step;
}

static inline Span span_piece(int64_t piece, int64_t step, int64_t count)
{
    return (Span){piece * step, least(count, (piece + 1) * step)};
}

/* The worker's next piece of 0..count-1, cut every `step`; false when none is left. */
static inline bool span_next(Worker *w, int64_t step, int64_t count, Span *s)
{
    *s = span_piece(worker_next(w, pieces(count, step)), step, count);
    return s->first < count;
}

/* Rows of that width which make a tile. */
static inline int64_t tile_rows(int64_t columns)
{
    return columns < TILE_FLOATS ? TILE_FLOATS / columns : 1;
}

/* The next LANES numbers of a row of which n > 0 are left; zeros after its end. */
static inline Vec vec_read(const float *p, int64_t n)
{
    return n >= LANES ? vec_load(p) : vec_load_some(p, n);
}

static inline void vec_write(float *p, Vec v, int64_t n)
{
    if (n >= LANES)
        vec_store(p, v);
    else
        vec_store_some(p, v, n);
}

/* Overwrites or adds. */
static inline void vec_put(float *p, Vec v, int64_t n, bool add)
{
    vec_write(p, add ? v + vec_read(p, n) : v, n);
}

static inline void row_copy(float *to, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        vec_write(to + i, vec_read(from + i, n - i), n - i);
}

/* to += from */
static inline void row_add(float *to, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        vec_put(to + i, vec_read(from + i, n - i), n - i, true);
}

/* Mean of a row, and sum of the squares of x - mean. Two chains of additions, as one would wait for itself. */
static inline float row_mean(const float *x, int64_t n)
{
    Vec even = {0}, odd = {0};
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        even += vec_load(x + i);
        odd += vec_load(x + i + LANES);
    }
    for (; i < n; i += LANES)
        even += vec_read(x + i, n - i);
    return vec_sum(even + odd) / (float)n;
}

static inline float row_spread(const float *x, int64_t n, float mean)
{
    Vec even = {0}, odd = {0};
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        Vec a = vec_load(x + i) - mean, b = vec_load(x + i + LANES) - mean;
        even += a * a;
        odd += b * b;
    }
    for (; i < n; i += LANES) {
        Vec a = (Vec)((VecI)(vec_read(x + i, n - i) - mean) & vec_first(least(LANES, n - i)));
        even += a * a;
    }
    return vec_sum(even + odd);
}

/* to[i] = or += the sum over t < count of partial[t stride + i], in the order of t. */
static inline void partials_add(const float *partial, int64_t count, int64_t stride, Span columns, float *to, bool add)
{
    for (int64_t i = columns.first; i < columns.end; i += LANES) {
        Vec sum = {0};
        for (int64_t t = 0; t < count; t++)
            sum += vec_read(partial + t * stride + i, columns.end - i);
        vec_put(to + i, sum, columns.end - i, add);
    }
}

#endif
