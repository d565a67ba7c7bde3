/* For ref.c files: plain C kernels that are the truth. `real` is float or double; sums are taken in double in both. They run on
 * one thread and are written to be read. */
#ifndef LACUNA_OPS_REF_H
#define LACUNA_OPS_REF_H

#include <tgmath.h>

#include "ops/bf16.h"
#include "ops/kernels.h"

#if LACUNA_REAL_BITS == 64
typedef double real;
#define REF(name) name##_ref_f64
#else
typedef float real;
#define REF(name) name##_ref_f32
#endif

/* Numbers of a value that may be bf16. */
static inline double ref_get(const Tensor *t, int64_t i)
{
    return t->dtype == DTYPE_BF16 ? bf16_to_float(((const uint16_t *)t->data)[i]) : ((const real *)t->data)[i];
}

static inline void ref_set(const Tensor *t, int64_t i, double value, bool accumulate)
{
    if (accumulate)
        value += ref_get(t, i);
    if (t->dtype == DTYPE_BF16)
        ((uint16_t *)t->data)[i] = bf16_from_float((float)value);
    else
        ((real *)t->data)[i] = (real)value;
}

/* Overwrites or adds. */
static inline void ref_put(real *to, double value, bool accumulate)
{
    *to = (real)(accumulate ? *to + value : value);
}

#endif
