/* y = residual + row_scale x column_scale x z on a GPU, for this room and the end of `linear`. */
#ifndef LACUNA_OPS_SCALE_ADD_CUDA_CUH
#define LACUNA_OPS_SCALE_ADD_CUDA_CUH

#include "ops/cuda.cuh"

typedef struct {
    int64_t rows, columns, per_group;         /* per_group: rows that share a row scale */
    const float *z, *column, *row, *residual; /* all but z may be NULL */
    void *y;                                  /* may be z or residual */
} ScaleAdd;

template <int N, class T> static __global__ void scale_add_kernel(ScaleAdd a)
{
    int64_t i = thread_number() * N;
    if (i >= a.rows * a.columns)
        return;
    int64_t row = i / a.columns, column = i - row * a.columns;
    Floats<N> v = pack_load<N>(a.z + i);
    float factor = a.row ? a.row[row / a.per_group] : 1.0f;
    for (int k = 0; k < N; k++)
        v.at[k] *= a.column ? factor * a.column[column + k] : factor;
    if (a.residual) {
        Floats<N> more = pack_load<N>(a.residual + i);
        for (int k = 0; k < N; k++)
            v.at[k] += more.at[k];
    }
    pack_store<N>(static_cast<T *>(a.y) + i, v);
}

static inline void scale_add_launch(CudaStream *s, const ScaleAdd &a, DType type)
{
    with_pack(packs_fit(a.columns, a.z, a.residual, static_cast<float *>(a.y)), [&](auto n) {
        with_type(type, [&](auto t) {
            cuda_launch(s, scale_add_kernel<n.value, decltype(t)>, blocks_of(a.rows * a.columns, BLOCK * n.value), dim3(BLOCK),
                        0, a);
        });
    });
}

#endif
