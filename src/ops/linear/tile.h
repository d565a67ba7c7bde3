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
    if (prologue == PROLOGUE_LAYER_NORM)
        return (x - stats[0]) * stats[1] * vec_read(o->gamma + i, n) + vec_read(o->beta + i, n);
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

static inline __attribute__((always_inline)) void operand_row_units_of(const Operand *o, int64_t row, Unit *to, bool pairs,
                                                                       const Prologue prologue, const bool bf16)
{
    const void *from = operand_row(o, row);
    const float *stats = o->stats ? o->stats + 2 * row : NULL;
    float factor = operand_factor(o, row);
    bool scaled = o->group || o->column;
    int64_t n = o->columns, step = pairs ? 2 * LANES : LANES;
    for (int64_t i = 0; i < n; i += step) {
        Vec x = operand_read(o, from, stats, i, n - i, prologue, bf16, pairs), y = {0};
        if (pairs && i + LANES < n)
            y = operand_read(o, from, stats, i + LANES, n - i - LANES, prologue, bf16, pairs);
        if (scaled) {
            x *= factor;
            y *= factor;
            if (o->column)
                x *= vec_read(o->column + i, n - i);
            if (o->column && pairs && i + LANES < n)
                y *= vec_read(o->column + i + LANES, n - i - LANES);
        }
        vec_store((float *)to + i / (pairs ? 2 : 1), pairs ? unit_join(x, y) : x);
    }
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
           linear_units(o->columns, pairs) % 256;
}

/* ---- products of one tile */

/* Sums of a tile's rows with one panel, block by block, each finished by `finish(context, first row, rows, block)`. */
typedef void (*Finish)(const void *context, int64_t row, int rows, int64_t column, int columns, const float *block);

static inline void multiply_tile(const Unit *a, int64_t lda, int64_t rows, int64_t depth, bool pairs, const Unit *panels,
                                 int64_t columns, Finish finish, const void *context)
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
            product_rows(&product, count, width > LANES);
            finish(context, row, count, p * NR, width, block);
        }
    }
}

#endif
