#include "ops/cuda.cuh"
#include "ops/grad_norm/grad_norm.h"

template <int N>
static __global__ void average_kernel(const float *weights, const float *take, const float *status, float *to, int64_t count)
{
    int64_t i = thread_number() * N;
    if (i >= count || status[STATUS_FINITE] == 0)
        return;
    Floats<N> from = pack_load<N>(weights + i), v = pack_load<N>(to + i);
    for (int k = 0; k < N; k++)
        v.at[k] += *take * (from.at[k] - v.at[k]);
    pack_store<N>(to + i, v);
}

extern "C" bool CUDA(average)(const Call *c, CudaStream *s)
{
    const float *weights = data_of(&c->in[0]), *take = data_of(&c->in[1]), *status = data_of(&c->in[2]);
    float *to = data_of(&c->out[0]);
    int64_t count = count_of(&c->out[0]);
    with_pack(packs_fit(count, weights, to), [&](auto n) {
        cuda_launch(s, average_kernel<n.value>, blocks_of(count, BLOCK * n.value), dim3(BLOCK), 0, weights, take, status, to,
                    count);
    });
    return cuda_launched(s, "average");
}
