/* A warp a row. */
#include "ops/cuda.cuh"
#include "ops/unit_rows/work.h"

template <int N> static __device__ inline float row_product(const float *a, const float *b, int64_t n)
{
    float sum = 0;
    for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
        Floats<N> x = pack_load<N>(a + i), y = pack_load<N>(b + i);
        for (int k = 0; k < N; k++)
            sum += x.at[k] * y.at[k];
    }
    return warp_sum(sum);
}

template <int N> static __global__ void unit_rows_kernel(const float *x, float *y, int64_t rows, int64_t n, float length)
{
    int64_t row = warp_number();
    if (row >= rows)
        return;
    float factor = length / fmaxf(sqrtf(row_product<N>(x + row * n, x + row * n, n)), (float)UNIT_ROWS_LEAST);
    for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
        Floats<N> v = pack_load<N>(x + row * n + i);
        for (int k = 0; k < N; k++)
            v.at[k] *= factor;
        pack_store<N>(y + row * n + i, v);
    }
}

extern "C" bool CUDA(unit_rows)(const Call *c, CudaStream *s)
{
    const float *x = data_of(&c->in[0]);
    float *y = data_of(&c->out[0]);
    int64_t rows = c->in[0].rows, n = c->in[0].columns;
    with_pack(packs_fit(n, x, y), [&](auto p) {
        cuda_launch(s, unit_rows_kernel<p.value>, blocks_of(rows, WARPS), dim3(BLOCK), 0, x, y, rows, n,
                    (float)((const UnitRowsAttr *)c->attr)->length);
    });
    return cuda_launched(s, "unit_rows");
}

template <int N>
static __global__ void unit_rows_grad_kernel(const float *dy, const float *x, float *dx, int64_t rows, int64_t n, float length,
                                             bool add)
{
    int64_t row = warp_number();
    if (row >= rows)
        return;
    float norm = fmaxf(sqrtf(row_product<N>(x + row * n, x + row * n, n)), (float)UNIT_ROWS_LEAST), factor = length / norm,
          along = row_product<N>(dy + row * n, x + row * n, n),
          back = norm > (float)UNIT_ROWS_LEAST ? along / norm / norm : 0.0f;
    for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
        Floats<N> d = pack_load<N>(dy + row * n + i), v = pack_load<N>(x + row * n + i);
        for (int k = 0; k < N; k++)
            d.at[k] = factor * (d.at[k] - back * v.at[k]);
        pack_put<N>(dx + row * n + i, d, add);
    }
}

extern "C" bool CUDA(unit_rows_grad)(const Call *c, CudaStream *s)
{
    const float *dy = data_of(&c->in[0]), *x = data_of(&c->in[1]);
    float *dx = data_of(&c->out[0]);
    int64_t rows = c->in[1].rows, n = c->in[1].columns;
    with_pack(packs_fit(n, dy, x, dx), [&](auto p) {
        cuda_launch(s, unit_rows_grad_kernel<p.value>, blocks_of(rows, WARPS), dim3(BLOCK), 0, dy, x, dx, rows, n,
                    (float)((const UnitRowsAttr *)c->attr)->length, call_accumulates(c, 0));
    });
    return cuda_launched(s, "unit_rows_grad");
}
