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

template <int N, class From, class To>
static __global__ void activation_kernel(const From *x, To *y, int64_t count, Activation kind)
{
    int64_t i = thread_number() * N;
    if (i >= count)
        return;
    Floats<N> v = pack_load<N>(x + i);
    for (int k = 0; k < N; k++)
        v.at[k] = activation_value(v.at[k], kind);
    pack_store<N>(y + i, v);
}

template <class From, class To> static void activation_launch(const Call *c, CudaStream *s)
{
    const From *x = data_of<From>(&c->in[0]);
    To *y = data_of<To>(&c->out[0]);
    int64_t count = count_of(&c->out[0]);
    with_pack(packs_fit(count, x, y), [&](auto n) {
        cuda_launch(s, activation_kernel<n.value, From, To>, blocks_of(count, BLOCK * n.value), dim3(BLOCK), 0, x, y, count,
                    ((const ActivationAttr *)c->attr)->kind);
    });
}

extern "C" bool CUDA(activation)(const Call *c, CudaStream *s)
{
    with_type(c->in[0].dtype, [&](auto from) {
        with_type(c->out[0].dtype, [&](auto to) { activation_launch<decltype(from), decltype(to)>(c, s); });
    });
    return cuda_launched(s, "activation");
}

template <int N, class From, class T>
static __global__ void activation_grad_kernel(const From *dy, const T *x, T *dx, Bf16 *y, int64_t count, Activation kind,
                                              bool add)
{
    int64_t i = thread_number() * N;
    if (i >= count)
        return;
    Floats<N> d = pack_load<N>(dy + i), v = pack_load<N>(x + i);
    for (int k = 0; k < N; k++)
        d.at[k] *= activation_slope(v.at[k], kind);
    pack_put<N>(dx + i, d, add);
    if (!y)
        return;
    for (int k = 0; k < N; k++)
        v.at[k] = activation_value(v.at[k], kind);
    pack_store<N>(y + i, v);
}

template <class From, class T> static void activation_grad_launch(const Call *c, CudaStream *s)
{
    const From *dy = data_of<From>(&c->in[0]);
    const T *x = data_of<T>(&c->in[1]);
    T *dx = data_of<T>(&c->out[0]);
    Bf16 *y = data_of<Bf16>(&c->out[1]);
    int64_t count = count_of(&c->out[0]);
    with_pack(packs_fit(count, dy, x, dx, y), [&](auto n) {
        cuda_launch(s, activation_grad_kernel<n.value, From, T>, blocks_of(count, BLOCK * n.value), dim3(BLOCK), 0, dy, x, dx,
                    y, count, ((const ActivationAttr *)c->attr)->kind, call_accumulates(c, 0));
    });
}

/* dx is of x's type. */
extern "C" bool CUDA(activation_grad)(const Call *c, CudaStream *s)
{
    with_type(c->in[0].dtype, [&](auto from) {
        with_type(c->in[1].dtype, [&](auto t) { activation_grad_launch<decltype(from), decltype(t)>(c, s); });
    });
    return cuda_launched(s, "activation_grad");
}
