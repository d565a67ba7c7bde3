#include "ops/row.cuh"

template <int N> static __global__ void standardise_kernel(const float *x, float *y, int64_t rows, int64_t n)
{
    int64_t row = warp_number();
    if (row >= rows)
        return;
    x += row * n;
    y += row * n;
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
