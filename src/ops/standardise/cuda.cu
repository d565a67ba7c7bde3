#include "ops/row.cuh"

template <int N> static __global__ void standardise_kernel(const float *x, float *y, int64_t rows, int64_t n)
{
    int64_t row = warp_number();
    if (row < rows)
        row_standardise<N>(x + row * n, y + row * n, n);
}

extern "C" bool CUDA(standardise)(const Call *c, CudaStream *s)
{
    const float *x = data_of(&c->in[0]);
    float *y = data_of(&c->out[0]);
    int64_t rows = c->out[0].rows, n = c->out[0].columns;
    with_pack(packs_fit(n, x, y), [&](auto p) {
        cuda_launch(s, standardise_kernel<p.value>, blocks_of(rows, WARPS), dim3(BLOCK), 0, x, y, rows, n);
    });
    return cuda_launched(s, "standardise");
}
