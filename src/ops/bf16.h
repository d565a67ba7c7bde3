/* bf16: the upper half of an f32, so conversion is a shift one way and a rounding the other. Plain C on the bits, for kernels
 * of every kind. */
#ifndef LACUNA_OPS_BF16_H
#define LACUNA_OPS_BF16_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Units (32 bits: one f32, or with `pairs` two bf16; ops/unit.h) of a row of n numbers. */
static inline int64_t unit_count(int64_t n, bool pairs)
{
    return pairs ? (n + 1) / 2 : n;
}

static inline float bf16_to_float(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* To the nearest, of two equally near to the even one; what is too large becomes infinite, a NaN stays one. */
static inline uint16_t bf16_from_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u); /* quiet: its lower half alone may be what made it a NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#endif
