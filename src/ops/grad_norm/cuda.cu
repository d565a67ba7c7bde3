#include "ops/cuda.cuh"
#include "ops/grad_norm/attr.h"

/* A block a tile of GRAD_NORM_TILE numbers; squares in double, as that of a float may be too large for one. */
template <int N> static __global__ void squares_kernel(const float *g, int64_t count, double *partial)
{
    int64_t first = (int64_t)blockIdx.x * GRAD_NORM_TILE, end = first + GRAD_NORM_TILE < count ? first + GRAD_NORM_TILE : count;
    double sum = 0;
    for (int64_t i = first + threadIdx.x * N; i < end; i += BLOCK * N) {
        Floats<N> v = pack_load<N>(g + i);
        for (int k = 0; k < N; k++)
            sum += (double)v.at[k] * (double)v.at[k];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void status_kernel(const double *partial, int64_t count, const float *loss, double clip, float *status)
{
    double norm = sqrt(partials_sum(partial, count)), factor = clip > 0 ? clip / (norm + 1e-6) : 1;
    if (threadIdx.x > 0)
        return;
    status[STATUS_NORM] = (float)norm;
    status[STATUS_FACTOR] = factor < 1 ? (float)factor : 1.0f;
    status[STATUS_FINITE] = isfinite(norm) && isfinite(*loss) ? 1.0f : 0.0f;
}

extern "C" bool CUDA(grad_norm)(const Call *c, CudaStream *s)
{
    const float *g = data_of(&c->in[0]);
    double *partial = static_cast<double *>(c->work);
    int64_t count = c->in[0].columns, tiles = pieces(count, GRAD_NORM_TILE);
    if (tiles)
        with_pack(packs_fit(count, g), [&](auto n) {
            cuda_launch(s, squares_kernel<n.value>, dim3((unsigned)tiles), dim3(BLOCK), 0, g, count, partial);
        });
    cuda_launch(s, status_kernel, dim3(1), dim3(BLOCK), 0, partial, tiles, data_of(&c->in[1]),
                ((const GradNormAttr *)c->attr)->clip, data_of(&c->out[0]));
    return cuda_launched(s, "grad_norm");
}
