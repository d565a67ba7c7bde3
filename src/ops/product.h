/* The heart of all products: a small block of sums kept in registers. For cpu.c files; linear and attention are built from it.
 *
 * The right operand is packed in panels: NR columns, one row of the panel after the other. The left one is read where it lies.
 */
#ifndef LACUNA_OPS_PRODUCT_H
#define LACUNA_OPS_PRODUCT_H

#include "ops/vector.h"

/* Rows and columns of a block: with 32 registers 28 sums, two numbers of the right operand and one of the left; with 16
 * registers 12 sums. */
#if defined(__AVX512F__)
enum { MR = 14 };
#else
enum { MR = 6 };
#endif
enum { NR = 2 * LANES };

typedef struct {
    int64_t depth;  /* length of the sums */
    const float *a; /* left operand: element (i, k) at a[i lda + k] (rows) or a[i + k lda] (columns) */
    int64_t lda;
    const float *b; /* a panel */
    float *c;       /* block of sums, row by row */
    int64_t ldc;
    bool add; /* to what c holds */
} Product;

#define PRODUCT_INLINE static inline __attribute__((always_inline))

PRODUCT_INLINE void product_begin(const Product *p, Vec sum[MR][2], const int rows, const int vectors)
{
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sum[i][v] = p->add ? vec_load(p->c + i * p->ldc + v * LANES) : (Vec){0};
}

PRODUCT_INLINE void product_end(const Product *p, Vec sum[MR][2], const int rows, const int vectors)
{
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            vec_store(p->c + i * p->ldc + v * LANES, sum[i][v]);
}

/* Left operand by rows. Three rows share a pointer, so that all fit in registers. */
PRODUCT_INLINE void product_rows_block(const Product *p, const int rows, const int vectors)
{
    enum { BASES = (MR + 2) / 3 };
    Vec sum[MR][2];
    product_begin(p, sum, rows, vectors);
    const float *base[BASES];
#pragma GCC unroll 8
    for (int i = 0; i < (rows + 2) / 3; i++)
        base[i] = p->a + 3 * i * p->lda;
    const float *b = p->b;
    const int64_t lda = p->lda;
    for (int64_t k = 0; k < p->depth; k++, b += NR) {
        Vec right[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            right[v] = vec_load(b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            Vec left = vec_set(base[i / 3][i % 3 * lda]);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[i][v] += left * right[v];
        }
#pragma GCC unroll 8
        for (int i = 0; i < (rows + 2) / 3; i++)
            base[i]++;
    }
    product_end(p, sum, rows, vectors);
}

/* Left operand by columns. */
PRODUCT_INLINE void product_columns_block(const Product *p, const int rows, const int vectors)
{
    Vec sum[MR][2];
    product_begin(p, sum, rows, vectors);
    const float *a = p->a, *b = p->b;
    const int64_t lda = p->lda;
    for (int64_t k = 0; k < p->depth; k++, a += lda, b += NR) {
        Vec right[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            right[v] = vec_load(b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            Vec left = vec_set(a[i]);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[i][v] += left * right[v];
        }
    }
    product_end(p, sum, rows, vectors);
}

/* The blocks for every number of rows up to MR, each with its sums in registers. `wide`: more than LANES columns of the panel
 * are wanted. */
#define PRODUCT_CASE(form, n)                \
    case n:                                  \
        if (wide)                            \
            product_##form##_block(p, n, 2); \
        else                                 \
            product_##form##_block(p, n, 1); \
        break;
#if defined(__AVX512F__)
#define PRODUCT_MORE_CASES(form) \
    PRODUCT_CASE(form, 7)        \
    PRODUCT_CASE(form, 8)        \
    PRODUCT_CASE(form, 9)        \
    PRODUCT_CASE(form, 10)       \
    PRODUCT_CASE(form, 11)       \
    PRODUCT_CASE(form, 12)       \
    PRODUCT_CASE(form, 13)       \
    PRODUCT_CASE(form, 14)
#else
#define PRODUCT_MORE_CASES(form)
#endif
#define PRODUCT_CASES(form) \
    PRODUCT_CASE(form, 1)   \
    PRODUCT_CASE(form, 2)   \
    PRODUCT_CASE(form, 3)   \
    PRODUCT_CASE(form, 4)   \
    PRODUCT_CASE(form, 5)   \
    PRODUCT_CASE(form, 6)   \
    PRODUCT_MORE_CASES(form)

static __attribute__((noinline, unused)) void product_rows(const Product *p, int rows, bool wide)
{
    switch (rows) {
        PRODUCT_CASES(rows)
    }
}

static __attribute__((noinline, unused)) void product_columns(const Product *p, int rows, bool wide)
{
    switch (rows) {
        PRODUCT_CASES(columns)
    }
}

#endif
