/* For cpu.c files: packing the right operand of a product (ops/product.h) into panels of NR columns. */
#ifndef LACUNA_OPS_PACK_H
#define LACUNA_OPS_PACK_H

#include "ops/product.h"

/* Rows of f32 or bf16 numbers inside a wider matrix. */
typedef struct {
    void *data; /* the first row's first number */
    bool bf16;
    int64_t rows, columns, stride; /* from row to row, in numbers */
} Rows;

static inline void *rows_at(const Rows *x, int64_t row)
{
    return number_at(x->data, x->bf16, row * x->stride);
}

/* LANES units of a row from number i on, of which n > 0 are left; zeros after its end. */
static inline __attribute__((always_inline)) Vec row_units(const void *row, const bool bf16, const bool pairs, int64_t i,
                                                           int64_t n)
{
    if (!pairs)
        return number_read(row, bf16, i, n);
    if (bf16 && n >= 2 * LANES)
        return vec_load((const float *)number_at(row, true, i)); /* they lie there as units */
    return unit_join(number_read(row, bf16, i, n), n > LANES ? number_read(row, bf16, i + LANES, n - LANES) : (Vec){0});
}

static inline __attribute__((always_inline)) void pack_across_of(const Rows *x, int64_t p, Unit *panel, const bool bf16,
                                                                 const bool pairs)
{
    int64_t n = x->columns, step = pairs ? 2 * LANES : LANES, units = unit_count(n, pairs);
    for (int64_t j = p * NR; j < (p + 1) * NR; j += LANES)
        for (int64_t i = 0; i < n; i += step) {
            Vec block[LANES];
#pragma GCC unroll 16
            for (int r = 0; r < LANES; r++)
                block[r] = j + r < x->rows ? row_units(rows_at(x, j + r), bf16, pairs, i, n - i) : (Vec){0};
            unit_transpose(block);
            int64_t first = i * LANES / step, count = least(LANES, units - first);
#pragma GCC unroll 16
            for (int r = 0; r < LANES; r++)
                if (r < count)
                    vec_store((float *)panel + (first + r) * NR + j % NR, block[r]);
        }
}

/* Panel p of the transpose: its column j is row p NR + j of x, summed along the row. */
static __attribute__((noinline, unused)) void pack_across(const Rows *x, int64_t p, bool pairs, Unit *panel)
{
    if (x->bf16)
        pairs ? pack_across_of(x, p, panel, true, true) : pack_across_of(x, p, panel, true, false);
    else
        pairs ? pack_across_of(x, p, panel, false, true) : pack_across_of(x, p, panel, false, false);
}

static inline __attribute__((always_inline)) void pack_down_of(const Rows *x, int64_t p, Unit *panel, const bool bf16,
                                                               const bool pairs)
{
    int64_t units = unit_count(x->rows, pairs), left = x->columns - p * NR;
    for (int64_t u = 0; u < units; u++) {
        int64_t row = pairs ? 2 * u : u;
        const void *from = rows_at(x, row), *below = pairs && row + 1 < x->rows ? rows_at(x, row + 1) : NULL;
        for (int64_t j = 0; j < NR; j += LANES) {
            Vec a = {0}, b = {0};
            if (j < left) {
                a = number_read(from, bf16, p * NR + j, left - j);
                if (below)
                    b = number_read(below, bf16, p * NR + j, left - j);
            }
            vec_store((float *)panel + u * NR + j, pairs ? unit_pair(a, b) : a);
        }
    }
}

/* Panel p of x itself: columns p NR .. of its rows, summed down the rows. */
static __attribute__((noinline, unused)) void pack_down(const Rows *x, int64_t p, bool pairs, Unit *panel)
{
    if (x->bf16)
        pairs ? pack_down_of(x, p, panel, true, true) : pack_down_of(x, p, panel, true, false);
    else
        pairs ? pack_down_of(x, p, panel, false, true) : pack_down_of(x, p, panel, false, false);
}

#endif
