/* The heart of all products: a small block of sums kept in registers. For cpu.c files; linear and attention are built from it.
 *
 * The right operand is packed in panels: NR columns of units (ops/unit.h), one row of the panel after the other. The left one
 * is read where it lies. */
#ifndef LACUNA_OPS_PRODUCT_H
#define LACUNA_OPS_PRODUCT_H

#include "ops/unit.h"

/* Rows and columns of a block: with 32 registers 28 sums, two numbers of the right operand and one of the left; with 16
 * registers 12 sums. */
#if defined(VECTOR_16)
enum { MR = 14 };
#else
enum { MR = 6 };
#endif
enum { NR = 2 * LANES };

typedef struct {
    int64_t depth; /* length of the sums, in units */
    const Unit *a; /* left operand: unit (i, k) at a[i lda + k] (rows) or a[i + k lda] (columns) */
    int64_t lda;
    const Unit *b; /* a panel */
    float *c;      /* block of sums, row by row */
    int64_t ldc;
    bool add;   /* to what c holds */
    bool pairs; /* units are pairs of bf16 */
} Product;

#define PRODUCT_INLINE static inline __attribute__((always_inline))

/* What c holds is fetched while the sums grow and added last, so that they need not wait for it. */
PRODUCT_INLINE void product_begin(const Product *p, Vec sum[MR][2], const int rows, const int vectors)
{
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            sum[i][v] = (Vec){0};
            if (p->add)
                __builtin_prefetch(p->c + i * p->ldc + v * LANES, 1);
        }
}

PRODUCT_INLINE void product_end(const Product *p, Vec sum[MR][2], const int rows, const int vectors)
{
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            float *to = p->c + i * p->ldc + v * LANES;
            vec_store(to, p->add ? vec_load(to) + sum[i][v] : sum[i][v]);
        }
}

/* Left operand by rows. Three rows share a pointer, so that all fit in registers. */
PRODUCT_INLINE void product_rows_block(const Product *p, const int rows, const int vectors, const bool pairs)
{
    enum { BASES = (MR + 2) / 3 };
    Vec sum[MR][2];
    product_begin(p, sum, rows, vectors);
    const Unit *base[BASES];
#pragma GCC unroll 8
    for (int i = 0; i < (rows + 2) / 3; i++)
        base[i] = p->a + 3 * i * p->lda;
    const Unit *b = p->b;
    const int64_t lda = p->lda;
    for (int64_t k = 0; k < p->depth; k++, b += NR) {
        Vec right[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            right[v] = vec_load((const float *)b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            Vec left = vec_set(base[i / 3][i % 3 * lda]);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[i][v] = unit_multiply(sum[i][v], left, right[v], pairs);
        }
#pragma GCC unroll 8
        for (int i = 0; i < (rows + 2) / 3; i++)
            base[i]++;
    }
    product_end(p, sum, rows, vectors);
}

/* Left operand by columns. */
PRODUCT_INLINE void product_columns_block(const Product *p, const int rows, const int vectors, const bool pairs)
{
    Vec sum[MR][2];
    product_begin(p, sum, rows, vectors);
    const Unit *a = p->a, *b = p->b;
    const int64_t lda = p->lda;
    for (int64_t k = 0; k < p->depth; k++, a += lda, b += NR) {
        Vec right[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            right[v] = vec_load((const float *)b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            Vec left = vec_set(a[i]);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[i][v] = unit_multiply(sum[i][v], left, right[v], pairs);
        }
    }
    product_end(p, sum, rows, vectors);
}

/* The blocks for every number of rows up to MR, each with its sums in registers. `wide`: more than LANES columns of the panel
 * are wanted. */
#define PRODUCT_CASE(form, n, pairs)                \
    case n:                                         \
        if (wide)                                   \
            product_##form##_block(p, n, 2, pairs); \
        else                                        \
            product_##form##_block(p, n, 1, pairs); \
        break;
#if defined(VECTOR_16)
#define PRODUCT_MORE_CASES(form, pairs) \
    PRODUCT_CASE(form, 7, pairs)        \
    PRODUCT_CASE(form, 8, pairs)        \
    PRODUCT_CASE(form, 9, pairs)        \
    PRODUCT_CASE(form, 10, pairs)       \
    PRODUCT_CASE(form, 11, pairs)       \
    PRODUCT_CASE(form, 12, pairs)       \
    PRODUCT_CASE(form, 13, pairs)       \
    PRODUCT_CASE(form, 14, pairs)
#else
#define PRODUCT_MORE_CASES(form, pairs)
#endif
#define PRODUCT_CASES(form, pairs) \
    PRODUCT_CASE(form, 1, pairs)   \
    PRODUCT_CASE(form, 2, pairs)   \
    PRODUCT_CASE(form, 3, pairs)   \
    PRODUCT_CASE(form, 4, pairs)   \
    PRODUCT_CASE(form, 5, pairs)   \
    PRODUCT_CASE(form, 6, pairs)   \
    PRODUCT_MORE_CASES(form, pairs)

static __attribute__((noinline, unused)) void product_rows_f32(const Product *p, int rows, bool wide)
{
    switch (rows) {
        PRODUCT_CASES(rows, false)
    }
}

static __attribute__((noinline, unused)) void product_columns_f32(const Product *p, int rows, bool wide)
{
    switch (rows) {
        PRODUCT_CASES(columns, false)
    }
}

#if defined(__AVX512BF16__) || defined(LACUNA_LEVEL_wide)
static __attribute__((noinline, unused)) void product_rows_bf16(const Product *p, int rows, bool wide)
{
    switch (rows) {
        PRODUCT_CASES(rows, true)
    }
}

static __attribute__((noinline, unused)) void product_columns_bf16(const Product *p, int rows, bool wide)
{
    switch (rows) {
        PRODUCT_CASES(columns, true)
    }
}
#endif

static inline void product_rows(const Product *p, int rows, bool wide)
{
#if defined(__AVX512BF16__) || defined(LACUNA_LEVEL_wide)
    if (p->pairs) {
        product_rows_bf16(p, rows, wide);
        return;
    }
#endif
    product_rows_f32(p, rows, wide);
}

static inline void product_columns(const Product *p, int rows, bool wide)
{
#if defined(__AVX512BF16__) || defined(LACUNA_LEVEL_wide)
    if (p->pairs) {
        product_columns_bf16(p, rows, wide);
        return;
    }
#endif
    product_columns_f32(p, rows, wide);
}

#endif
