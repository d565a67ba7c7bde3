/* For cpu.c files: rows of f32 or bf16 numbers, and the units that products are made of. A unit is 32 bits of an operand along
 * the axis that is summed over: one f32, or two neighbouring bf16 (the first in the lower half). So a product of either kind
 * has the same layout and the same loops; only the multiplication differs. */
#ifndef LACUNA_OPS_UNIT_H
#define LACUNA_OPS_UNIT_H

#include "ops/row.h"

typedef uint16_t VecHalf __attribute__((vector_size(LANES * sizeof(uint16_t))));
typedef uint16_t VecHalfLoose __attribute__((vector_size(LANES * sizeof(uint16_t)), aligned(2), may_alias));
typedef uint32_t VecU __attribute__((vector_size(LANES * sizeof(uint32_t))));
typedef float Unit __attribute__((aligned(2), may_alias));

/* Whether this level multiplies pairs of bf16. Others turn bf16 numbers into f32 on the way into a product. */
#if defined(__AVX512BF16__) || defined(LACUNA_LEVEL_wide)
enum { HAS_PAIRS = 1 };
#else
enum { HAS_PAIRS = 0 };
#endif

/* ---- bf16 vectors */

static inline Vec half_widen(VecHalf h)
{
#if defined(VECTOR_AVX512)
    return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#elif defined(VECTOR_AVX2)
    return (Vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)h), 16);
#else
    return (Vec)(__builtin_convertvector(h, VecU) << 16);
#endif
}

/* The upper halves of the numbers rounded to the nearest even, in the upper halves of the result; the lower halves are left as
 * they fall. */
static inline VecU half_round(Vec v)
{
    VecU bits = (VecU)v, rounded = bits + 0x7fff + (bits >> 16 & 1);
    return (VecU)vec_pick((VecI)((bits & 0x7fffffff) > 0x7f800000), (Vec)(bits | 0x400000), (Vec)rounded);
}

static inline VecHalf half_narrow(Vec v)
{
#if defined(__AVX512BF16__) && !defined(LACUNA_LEVEL_wide)
    return (VecHalf)_mm512_cvtneps_pbh((__m512)v);
#else
    return __builtin_convertvector(half_round(v) >> 16, VecHalf);
#endif
}

static inline Vec half_load(const uint16_t *p)
{
    return half_widen(*(const VecHalfLoose *)p);
}

static inline void half_store(uint16_t *p, Vec v)
{
    *(VecHalfLoose *)p = half_narrow(v);
}

static inline Vec half_load_some(const uint16_t *p, int64_t n)
{
#if defined(VECTOR_AVX512)
    return half_widen((VecHalf)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p));
#else
    VecHalf part = {0};
    memcpy(&part, p, (size_t)n * sizeof *p);
    return half_widen(part);
#endif
}

static inline void half_store_some(uint16_t *p, Vec v, int64_t n)
{
    VecHalf part = half_narrow(v);
    memcpy(p, &part, (size_t)n * sizeof *p);
}

/* ---- rows of either type: `bf16` says which */

static inline void *number_at(const void *row, bool bf16, int64_t i)
{
    return (char *)row + i * (bf16 ? 2 : 4);
}

/* Numbers i.. of a row of which n > 0 are left; zeros after its end. */
static inline Vec number_read(const void *row, bool bf16, int64_t i, int64_t n)
{
    if (!bf16)
        return vec_read((const float *)row + i, n);
    const uint16_t *p = (const uint16_t *)row + i;
    return n >= LANES ? half_load(p) : half_load_some(p, n);
}

static inline void number_write(void *row, bool bf16, int64_t i, Vec v, int64_t n)
{
    if (!bf16) {
        vec_write((float *)row + i, v, n);
        return;
    }
    uint16_t *p = (uint16_t *)row + i;
    if (n >= LANES)
        half_store(p, v);
    else
        half_store_some(p, v, n);
}

static inline void number_put(void *row, bool bf16, int64_t i, Vec v, int64_t n, bool add)
{
    number_write(row, bf16, i, add ? v + number_read(row, bf16, i, n) : v, n);
}

/* ---- units */

/* 2 LANES neighbouring numbers of a row as LANES units. */
static inline Vec unit_join(Vec first, Vec second)
{
#if defined(__AVX512BF16__) && !defined(LACUNA_LEVEL_wide)
    return (Vec)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
#else
    VecHalf both[2] = {half_narrow(first), half_narrow(second)};
    Vec joined;
    memcpy(&joined, both, sizeof joined);
    return joined;
#endif
}

/* LANES units, each of a number of `first` and the number of `second` at the same place: two rows that are summed over. */
static inline Vec unit_pair(Vec first, Vec second)
{
#if defined(__AVX512BF16__) && !defined(LACUNA_LEVEL_wide)
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                           20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (Vec)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
#else
    return (Vec)(half_round(first) >> 16 | (half_round(second) & 0xffff0000u));
#endif
}

/* sum + the products of the units' numbers. */
static inline Vec unit_multiply(Vec sum, Vec left, Vec right, bool pairs)
{
    if (!pairs)
        return sum + left * right;
#if defined(__AVX512BF16__) && !defined(LACUNA_LEVEL_wide)
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)left, (__m512bh)right);
#else
    VecU a = (VecU)left, b = (VecU)right;
    return sum + (Vec)(a & 0xffff0000u) * (Vec)(b & 0xffff0000u) + (Vec)(a << 16) * (Vec)(b << 16);
#endif
}

/* Number i of the result is number which[i] of a, or number which[i] - LANES of b. */
static inline __attribute__((always_inline)) Vec vec_mix(Vec a, Vec b, VecI which)
{
#if defined(__clang__)
    Vec mixed;
    for (int i = 0; i < LANES; i++)
        mixed[i] = which[i] < LANES ? a[which[i]] : b[which[i] - LANES];
    return mixed;
#else
    return __builtin_shuffle(a, b, which);
#endif
}

/* A block of LANES x LANES units turned over in place: blocks of 1, 2, 4, ... lanes change places between vectors that far
 * apart. */
static inline __attribute__((always_inline)) void unit_transpose(Vec v[LANES])
{
#pragma GCC unroll 4
    for (int step = 1; step < LANES; step *= 2) {
        const VecI lane = vec_lanes(), odd = (lane & step) != 0;
        const VecI low = lane + (odd & (LANES - step)), high = lane + (odd & LANES) + (~odd & step);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            if (!(i & step)) {
                Vec a = v[i], b = v[i + step];
                v[i] = vec_mix(a, b, low);
                v[i + step] = vec_mix(a, b, high);
            }
    }
}

#endif
