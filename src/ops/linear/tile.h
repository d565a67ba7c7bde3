/* For the cpu kernels of linear: preparing rows of an operand and multiplying a tile of them. */
#ifndef LACUNA_OPS_LINEAR_TILE_H
#define LACUNA_OPS_LINEAR_TILE_H

#include "ops/linear/slots.h"
#include "ops/linear/work.h"
#include "ops/pack.h"

/* An operand as it lies in memory, with what its rows go through on the way into a product. */
typedef struct {
    const void *data; /* (rows, columns) */
    bool bf16;        /* its type */
    int64_t columns;
    Prologue prologue;
    const float *stats, *gamma, *beta; /* of LayerNorm: (rows, 2), (columns), (columns) */
    const float *group;                /* NULL, or a factor for each group of `per_group` rows */
    int64_t per_group;
    const float *column; /* NULL, or a factor for each column */
} Operand;

static inline float operand_factor(const Operand *o, int64_t row)
{
    return o->group ? o->group[row / o->per_group] : 1.0f;
}

static inline const void *operand_row(const Operand *o, int64_t row)
{
    return number_at(o->data, o->bf16, row * o->columns);
}

/* Numbers i.. of a row, of which n are left, through the prologue. Zeros come after the end. `pairs`: bf16 follows, so a short
 * polynomial serves for GELU. Always inlined with constants for the last three. */
static inline __attribute__((always_inline)) Vec operand_read(const Operand *o, const void *row, const float *stats, int64_t i,
                                                              int64_t n, const Prologue prologue, const bool bf16,
                                                              const bool pairs)
{
    Vec x = number_read(row, bf16, i, n);
    if (prologue == PROLOGUE_LAYER_NORM) {
        if (!stats)
            __builtin_unreachable(); /* linear() makes them wherever there is a LayerNorm */
        return (x - stats[0]) * stats[1] * vec_read(o->gamma + i, n) + vec_read(o->beta + i, n);
    }
    if (prologue == PROLOGUE_GELU)
        return pairs ? vec_gelu_short(x) : vec_gelu(x);
    if (prologue == PROLOGUE_QUICK_GELU)
        return vec_quick_gelu(x);
    return x;
}

/* Calls form(..., prologue, bf16) with constants, so that each combination is compiled on its own. */
#define OPERAND_CASES(form, ...)                       \
    switch (o->prologue * 2 + o->bf16) {               \
    case PROLOGUE_NONE * 2:                            \
        form(__VA_ARGS__, PROLOGUE_NONE, false);       \
        break;                                         \
    case PROLOGUE_NONE * 2 + 1:                        \
        form(__VA_ARGS__, PROLOGUE_NONE, true);        \
        break;                                         \
    case PROLOGUE_LAYER_NORM * 2:                      \
        form(__VA_ARGS__, PROLOGUE_LAYER_NORM, false); \
        break;                                         \
    case PROLOGUE_LAYER_NORM * 2 + 1:                  \
        form(__VA_ARGS__, PROLOGUE_LAYER_NORM, true);  \
        break;                                         \
    case PROLOGUE_GELU * 2:                            \
        form(__VA_ARGS__, PROLOGUE_GELU, false);       \
        break;                                         \
    case PROLOGUE_GELU * 2 + 1:                        \
        form(__VA_ARGS__, PROLOGUE_GELU, true);        \
        break;                                         \
    case PROLOGUE_QUICK_GELU * 2:                      \
        form(__VA_ARGS__, PROLOGUE_QUICK_GELU, false); \
        break;                                         \
    default:                                           \
        form(__VA_ARGS__, PROLOGUE_QUICK_GELU, true);  \
        break;                                         \
    }

/* ---- a row as units, for the left side of a product */

/* One vector of units, from number i on, of which n are left. */
static inline __attribute__((always_inline)) void operand_units(const Operand *o, const void *from, const float *stats,
                                                                float factor, int64_t i, int64_t n, Unit *to, bool pairs,
                                                                const Prologue prologue, const bool bf16)
{
    Vec x = operand_read(o, from, stats, i, n, prologue, bf16, pairs), y = {0};
    bool more = pairs && n > LANES;
    if (more)
        y = operand_read(o, from, stats, i + LANES, n - LANES, prologue, bf16, pairs);
    if (o->group || o->column) {
        x *= factor;
        y *= factor;
        if (o->column)
            x *= vec_read(o->column + i, n);
        if (o->column && more)
            y *= vec_read(o->column + i + LANES, n - LANES);
    }
    vec_store((float *)to + i / (pairs ? 2 : 1), pairs ? unit_join(x, y) : x);
}

static inline __attribute__((always_inline)) void operand_row_units_of(const Operand *o, int64_t row, Unit *to, bool pairs,
                                                                       const Prologue prologue, const bool bf16)
{
    const Operand own = *o; /* so that the compiler need not expect the stores to change it */
    const void *from = operand_row(&own, row);
    const float *stats = own.stats ? own.stats + 2 * row : NULL;
    float factor = operand_factor(&own, row);
    int64_t n = own.columns, i = 0;
    const int64_t step = pairs ? 2 * LANES : LANES;
    for (; i + step <= n; i += step)
        operand_units(&own, from, stats, factor, i, step, to, pairs, prologue, bf16);
    if (i < n)
        operand_units(&own, from, stats, factor, i, n - i, to, pairs, prologue, bf16);
}

/* Row `row` into `to`, which has linear_stride() units. */
static inline void operand_row_units(const Operand *o, int64_t row, bool pairs, Unit *to)
{
    if (pairs)
        OPERAND_CASES(operand_row_units_of, o, row, to, true)
    else
        OPERAND_CASES(operand_row_units_of, o, row, to, false)
}

/* Whether a product can read the rows where they lie: as they are, of whole units, and not all in one set of the cache. */
static inline bool operand_is_plain(const Operand *o, bool pairs)
{
    return o->prologue == PROLOGUE_NONE && !o->group && !o->column && o->bf16 == pairs && !(pairs && o->columns % 2) &&
           unit_count(o->columns, pairs) % 256;
}

/* ---- products of one tile */

/* Rows that `finish` reads or writes: fetched while the product before it runs. */
typedef struct {
    const void *data; /* the tile's first row, or NULL */
    bool bf16;
    int64_t columns;
} Ahead;

static inline void fetch_ahead(const Ahead *a, int64_t row, int rows, int64_t column)
{
    for (int i = 0; a->data && i < rows; i++) {
        const char *at = number_at(a->data, a->bf16, (row + i) * a->columns + column);
        __builtin_prefetch(at);
        if (!a->bf16)
            __builtin_prefetch(at + 64);
    }
}

/* Sums of a tile's rows with one panel, block by block, each finished by `finish(context, first row, rows, block)`. */
typedef void (*Finish)(const void *context, int64_t row, int rows, int64_t column, int columns, const float *block);

static inline __attribute__((always_inline)) void multiply_tile(const Unit *a, int64_t lda, int64_t rows, int64_t depth,
                                                                bool pairs, const Unit *panels, int64_t columns,
                                                                const Ahead ahead[2], Finish finish, const void *context)
{
    _Alignas(64) float block[MR * NR];
    for (int64_t p = 0; p * NR < columns; p++) {
        int width = (int)least(NR, columns - p * NR);
        for (int64_t row = 0; row < rows; row += MR) {
            int count = (int)least(MR, rows - row);
            Product product = {.depth = depth,
                               .a = a + row * lda,
                               .lda = lda,
                               .b = panels + p * depth * NR,
                               .c = block,
                               .ldc = NR,
                               .pairs = pairs};
            fetch_ahead(&ahead[0], row, count, p * NR);
            fetch_ahead(&ahead[1], row, count, p * NR);
            product_rows(&product, count, width > LANES);
            finish(context, row, count, p * NR, width, block);
        }
    }
}

#endif
