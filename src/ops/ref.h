/* For ref.c files: plain C kernels that are the truth. `real` is float or double; sums are taken in double in both. They run on
 * one thread and are written to be read. */
#ifndef LACUNA_OPS_REF_H
#define LACUNA_OPS_REF_H

#include <tgmath.h>

#include "ops/kernels.h"

#if LACUNA_REAL_BITS == 64
typedef double real;
#define REF(name) name##_ref_f64
#else
typedef float real;
#define REF(name) name##_ref_f32
#endif

/* Overwrites or adds. */
static inline void ref_put(real *to, double value, bool accumulate)
{
    *to = (real)(accumulate ? *to + value : value);
}

#endif
