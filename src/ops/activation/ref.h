/* The activations in plain C, for the reference kernels of this room and of `linear`. */
#ifndef LACUNA_OPS_ACTIVATION_REF_H
#define LACUNA_OPS_ACTIVATION_REF_H

#include "ops/activation/activation.h"
#include "ops/ref.h"

static inline double ref_activation(double x, Activation kind)
{
    switch (kind) {
    case ACTIVATION_GELU:
        return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
    case ACTIVATION_QUICK_GELU:
        return x / (1 + exp(-1.702 * x));
    default:
        return x;
    }
}

static inline double ref_activation_slope(double x, Activation kind)
{
    if (kind == ACTIVATION_GELU)
        return 0.5 * (1 + erf(x * 0.70710678118654752440)) + x * 0.39894228040143267794 * exp(-0.5 * x * x);
    if (kind == ACTIVATION_QUICK_GELU) {
        double s = 1 / (1 + exp(-1.702 * x));
        return s * (1 + 1.702 * x * (1 - s));
    }
    return 1;
}

#endif
