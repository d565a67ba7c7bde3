/* For cpu.c files: the compiler's vector types and the few functions on them that kernels share. A source is compiled once per
 * instruction set; LANES says how many floats a vector has there. The level `wide` is AVX-512's code, bf16 included, on a
 * processor without it: the compiler splits its vectors. It is slow and there to be tested. */
#ifndef LACUNA_OPS_VECTOR_H
#define LACUNA_OPS_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__) && !defined(LACUNA_LEVEL_wide)
#define VECTOR_AVX512 1
#elif defined(__AVX2__) && !defined(LACUNA_LEVEL_wide)
#define VECTOR_AVX2 1
#endif
#if defined(VECTOR_AVX512) || defined(VECTOR_AVX2)
#include <immintrin.h>
#endif

#include "ops/bf16.h"
#include "ops/kernels.h"

#if defined(VECTOR_AVX512) || defined(LACUNA_LEVEL_wide)
#define VECTOR_16 1
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif

typedef float Vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t VecI __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef float VecLoose __attribute__((vector_size(LANES * sizeof(float)), aligned(2), may_alias)); /* also bf16 pairs */

static inline Vec vec_load(const float *p)
{
    return *(const VecLoose *)p;
}

static inline void vec_store(float *p, Vec v)
{
    *(VecLoose *)p = v;
}

static inline Vec vec_set(float x)
{
    return x - (Vec){0};
}

/* 0, 1, 2, ... */
static inline VecI vec_lanes(void)
{
#if defined(VECTOR_16)
    return (VecI){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#else
    return (VecI){0, 1, 2, 3, 4, 5, 6, 7};
#endif
}

/* All bits set in the first n numbers, 0 <= n <= LANES. */
static inline VecI vec_first(int64_t n)
{
    return vec_lanes() < (int32_t)n;
}

/* The first n < LANES numbers, zeros behind them; touches nothing else. */
static inline Vec vec_load_some(const float *p, int64_t n)
{
#if defined(VECTOR_AVX512)
    return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(VECTOR_AVX2)
    return (Vec)_mm256_maskload_ps(p, (__m256i)vec_first(n));
#else
    float part[LANES] = {0};
    memcpy(part, p, (size_t)n * sizeof *p);
    return vec_load(part);
#endif
}

static inline void vec_store_some(float *p, Vec v, int64_t n)
{
#if defined(VECTOR_AVX512)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#elif defined(VECTOR_AVX2)
    _mm256_maskstore_ps(p, (__m256i)vec_first(n), (__m256)v);
#else
    float part[LANES];
    vec_store(part, v);
    memcpy(p, part, (size_t)n * sizeof *p);
#endif
}

static inline Vec vec_sqrt(Vec v)
{
#if defined(VECTOR_AVX512)
    return (Vec)_mm512_sqrt_ps((__m512)v);
#elif defined(VECTOR_AVX2)
    return (Vec)_mm256_sqrt_ps((__m256)v);
#else
    for (int i = 0; i < LANES; i++)
        v[i] = sqrtf(v[i]);
    return v;
#endif
}

/* condition ? a : b, for each number. */
static inline Vec vec_pick(VecI condition, Vec a, Vec b)
{
    return (Vec)(((VecI)a & condition) | ((VecI)b & ~condition));
}

/* a > b ? a : b, and so b where one is a NaN. */
static inline Vec vec_max(Vec a, Vec b)
{
#if defined(VECTOR_AVX512)
    return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(VECTOR_AVX2)
    return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vec_pick(a > b, a, b);
#endif
}

static inline Vec vec_min(Vec a, Vec b)
{
#if defined(VECTOR_AVX512)
    return (Vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(VECTOR_AVX2)
    return (Vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return vec_pick(a < b, a, b);
#endif
}

static inline Vec vec_abs(Vec a)
{
    return (Vec)((VecI)a & 0x7fffffff);
}

/* Sum of the numbers, always in the same order. */
static inline float vec_sum(Vec v)
{
#if defined(VECTOR_AVX512) || defined(VECTOR_AVX2)
#if defined(VECTOR_AVX512)
    __m256 half = _mm512_castps512_ps256((__m512)v) + _mm512_extractf32x8_ps((__m512)v, 1);
#else
    __m256 half = (__m256)v;
#endif
    __m128 quarter = _mm256_castps256_ps128(half) + _mm256_extractf128_ps(half, 1);
    quarter += _mm_movehl_ps(quarter, quarter);
    return quarter[0] + quarter[1];
#else
    float part[LANES];
    vec_store(part, v);
    for (int step = LANES / 2; step; step /= 2)
        for (int i = 0; i < step; i++)
            part[i] += part[i + step];
    return part[0];
#endif
}

/* With a NaN among the numbers one of them, or a NaN. */
static inline float vec_largest(Vec v)
{
#if defined(VECTOR_AVX512) || defined(VECTOR_AVX2)
#if defined(VECTOR_AVX512)
    __m256 half = _mm256_max_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
#else
    __m256 half = (__m256)v;
#endif
    __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return quarter[0] > quarter[1] ? quarter[0] : quarter[1];
#else
    float part[LANES], most;
    vec_store(part, v);
    most = part[0];
    for (int i = 1; i < LANES; i++)
        most = part[i] > most ? part[i] : most;
    return most;
#endif
}

/* e^x to 2e-7 relative; 0 below -87.3, at most 2.4e38 above 88.3; a NaN stays one. x = n ln 2 + r, e^r by its series to the
 * sixth power. */
static inline Vec vec_exp(Vec x)
{
    const float shift = 12582912.0f; /* 1.5 x 2^23: adding it rounds to an integer */
    /* The number last, and a comparison that is false for a NaN: it passes. */
    VecI low = x < -87.3f;
    Vec y = vec_max(vec_set(-87.3f), vec_min(vec_set(88.3f), x));
    Vec n = y * 1.44269504088896341f + shift;
    VecI k = (VecI)n << 23;
    n -= shift;
    Vec r = y - n * 0.693359375f;
    r -= n * -2.12194440e-4f;
    Vec p = vec_set(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return vec_pick(low, (Vec){0}, (Vec)((VecI)p + k));
}

/* The normal distribution and e^(-x^2 / 2): gelu(x) = x normal, gelu'(x) = normal + x density / sqrt(2 pi). erfc by Abramowitz
 * and Stegun 7.1.26 (error below 1.5e-7), written for the side on which it is small. */
static inline Vec vec_normal(Vec x, Vec *bell)
{
    Vec z = vec_abs(x) * 0.70710678118654752f;
    Vec e = vec_exp(-z * z);
    Vec t = 1.0f / (1.0f + 0.3275911f * z);
    Vec p = vec_set(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    Vec tail = 0.5f * p * t * e;
    *bell = e;
    return vec_pick(x > 0.0f, 1.0f - tail, tail);
}

static inline Vec vec_gelu(Vec x)
{
    Vec bell;
    return x * vec_normal(x, &bell);
}

static inline Vec vec_gelu_slope(Vec x)
{
    Vec bell, normal = vec_normal(x, &bell);
    return normal + x * bell * 0.39894228040143268f;
}

/* The same to 8e-5 (for |x| up to 60; beyond, to 1.3e-6 |x|) and 5e-4, for what is rounded to bf16 next: normal(x) = 1/2 +
 * x P(x^2) within 4.2 deviations, P fitted to the least largest error. */
static inline Vec vec_polynomial(Vec t, const float c[8])
{
    Vec p = t * c[7] + c[6];
#pragma GCC unroll 6
    for (int i = 5; i >= 0; i--)
        p = p * t + c[i];
    return p;
}

static inline Vec vec_clamp(Vec x, float most)
{
    return vec_max(vec_set(-most), vec_min(vec_set(most), x)); /* the number last: a NaN in it comes out */
}

static inline Vec vec_gelu_short(Vec x)
{
    static const float c[8] = {0.398465876f,    -0.065528207f,    0.00929823225f,  -0.000950658294f,
                               6.68908063e-05f, -3.03793988e-06f, 7.94137128e-08f, -9.01758117e-10f};
    Vec near = vec_clamp(x, 4.2f);
    return x * (near * vec_polynomial(near * near, c) + 0.5f);
}

static inline Vec vec_gelu_slope_short(Vec x)
{
    static const float c[8] = {0.796017422f,   -0.260177611f,    0.0545394435f,   -0.00724521073f,
                               0.00061565873f, -3.22521217e-05f, 9.43584904e-07f, -1.17478715e-08f};
    Vec near = vec_clamp(x, 4.2f);
    return near * vec_polynomial(near * near, c) + 0.5f;
}

static inline Vec vec_quick_gelu(Vec x)
{
    return x / (1.0f + vec_exp(-1.702f * x));
}

static inline Vec vec_quick_gelu_slope(Vec x)
{
    Vec s = 1.0f / (1.0f + vec_exp(-1.702f * x));
    return s * (1.0f + 1.702f * x * (1.0f - s));
}

#endif
