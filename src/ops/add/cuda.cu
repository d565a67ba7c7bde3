#include "ops/cuda.cuh"

/* y = a + b, or a where b is NULL. */
template <int N> static __global__ void add_kernel(const float *a, const float *b, float *y, int64_t packs)
{
    int64_t i = thread_number() * N;
    if (i >= packs * N)
        return;
    Floats<N> sum = pack_load<N>(a + i);
    if (b) {
        Floats<N> more = pack_load<N>(b + i);
        for (int k = 0; k < N; k++)
            sum.at[k] += more.at[k];
    }
    pack_store<N>(y + i, sum);
}

static void add_launch(CudaStream *s, const float *a, const float *b, float *y, int64_t count)
{
    with_pack(packs_fit(count, a, b, y), [&](auto n) {
        cuda_launch(s, add_kernel<n.value>, blocks_of(count, BLOCK * n.value), dim3(BLOCK), 0, a, b, y, count / n.value);
    });
}

extern "C" bool CUDA(add)(const Call *c, CudaStream *s)
{
    add_launch(s, data_of(&c->in[0]), data_of(&c->in[1]), data_of(&c->out[0]), count_of(&c->out[0]));
    return cuda_launched(s, "add");
}

extern "C" bool CUDA(add_to)(const Call *c, CudaStream *s)
{
    float *y = data_of(&c->out[0]);
    add_launch(s, data_of(&c->in[0]), call_accumulates(c, 0) ? y : NULL, y, count_of(&c->out[0]));
    return cuda_launched(s, "add_to");
}
