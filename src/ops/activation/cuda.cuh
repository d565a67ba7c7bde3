/* The activations on a GPU, for this room and `linear`. */
#ifndef LACUNA_OPS_ACTIVATION_CUDA_CUH
#define LACUNA_OPS_ACTIVATION_CUDA_CUH

#include "ops/activation/activation.h"
#include "ops/cuda.cuh"

static __device__ inline float activation_value(float x, Activation kind)
{
    if (kind == ACTIVATION_GELU)
        return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    if (kind == ACTIVATION_QUICK_GELU)
        return x / (1.0f + expf(-1.702f * x));
    return x;
}

static __device__ inline float activation_slope(float x, Activation kind)
{
    if (kind == ACTIVATION_GELU)
        return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
    if (kind == ACTIVATION_QUICK_GELU) {
        float s = 1.0f / (1.0f + expf(-1.702f * x));
        return s * (1.0f + 1.702f * x * (1.0f - s));
    }
    return 1.0f;
}

#endif
