/* A warp a row: its mean and spread. For ops that normalise rows. */
#ifndef LACUNA_OPS_ROW_CUH
#define LACUNA_OPS_ROW_CUH

#include "ops/cuda.cuh"

/* The row's mean, and the sum of the squares of what differs from it; every lane gets them. */
template <int N, class T> __device__ inline void row_statistics(const T *x, int64_t n, float *mean, float *spread)
{
    float sum = 0, square = 0;
    for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
        Floats<N> v = pack_load<N>(x + i);
        for (int k = 0; k < N; k++)
            sum += v.at[k];
    }
    *mean = warp_sum(sum) / (float)n;
    for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
        Floats<N> v = pack_load<N>(x + i);
        for (int k = 0; k < N; k++)
            square += (v.at[k] - *mean) * (v.at[k] - *mean);
    }
    *spread = warp_sum(square);
}

/* y = the row minus its mean, divided by sqrt(unbiased variance + 1e-6) (spec/pretraining.md 2). */
template <int N> __device__ inline void row_standardise(const float *x, float *y, int64_t n)
{
    float mean, spread;
    row_statistics<N>(x, n, &mean, &spread);
    float scale = 1.0f / sqrtf(spread / (float)(n - 1) + 1e-6f);
    for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
        Floats<N> v = pack_load<N>(x + i);
        for (int k = 0; k < N; k++)
            v.at[k] = (v.at[k] - mean) * scale;
        pack_store<N>(y + i, v);
    }
}

#endif
