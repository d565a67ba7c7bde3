#include "ops/activation/cuda.cuh"

template <int N> static __global__ void activation_kernel(const float *x, float *y, int64_t packs, Activation kind)
{
    int64_t i = thread_number() * N;
    if (i >= packs * N)
        return;
    Floats<N> v = pack_load<N>(x + i);
    for (int k = 0; k < N; k++)
        v.at[k] = activation_value(v.at[k], kind);
    pack_store<N>(y + i, v);
}

extern "C" bool CUDA(activation)(const Call *c, CudaStream *s)
{
    const float *x = data_of(&c->in[0]);
    float *y = data_of(&c->out[0]);
    int64_t count = count_of(&c->out[0]);
    with_pack(packs_fit(count, x, y), [&](auto n) {
        cuda_launch(s, activation_kernel<n.value>, blocks_of(count, BLOCK * n.value), dim3(BLOCK), 0, x, y, count / n.value,
                    ((const ActivationAttr *)c->attr)->kind);
    });
    return cuda_launched(s, "activation");
}

template <int N>
static __global__ void activation_grad_kernel(const float *dy, const float *x, float *dx, int64_t packs, Activation kind,
                                              bool add)
{
    int64_t i = thread_number() * N;
    if (i >= packs * N)
        return;
    Floats<N> d = pack_load<N>(dy + i), v = pack_load<N>(x + i);
    for (int k = 0; k < N; k++)
        d.at[k] *= activation_slope(v.at[k], kind);
    pack_put<N>(dx + i, d, add);
}

extern "C" bool CUDA(activation_grad)(const Call *c, CudaStream *s)
{
    const float *dy = data_of(&c->in[0]), *x = data_of(&c->in[1]);
    float *dx = data_of(&c->out[0]);
    int64_t count = count_of(&c->out[0]);
    with_pack(packs_fit(count, dy, x, dx), [&](auto n) {
        cuda_launch(s, activation_grad_kernel<n.value>, blocks_of(count, BLOCK * n.value), dim3(BLOCK), 0, dy, x, dx,
                    count / n.value, ((const ActivationAttr *)c->attr)->kind, call_accumulates(c, 0));
    });
    return cuda_launched(s, "activation_grad");
}
