#include "ops/activation/activation.h"
#include "ops/cuda.cuh"
#include "ops/operand/work.h"

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

template <class From, class T> struct ActivationGrad {
    int64_t rows, n;
    const From *dy;
    const T *x;
    T *dx;   /* may be dy */
    Bf16 *y; /* or NULL */
    Activation kind;
    bool add;
    float *partials; /* column sums of each OPERAND_TILE rows, where sums are wanted */
};

/* N numbers from the i-th on; returns what is written to dx, or added. */
template <int N, class From, class T>
static __device__ inline Floats<N> activation_grad_pack(const ActivationGrad<From, T> &g, int64_t i)
{
    Floats<N> d = pack_load<N>(g.dy + i), v = pack_load<N>(g.x + i);
    for (int k = 0; k < N; k++)
        d.at[k] *= activation_slope(v.at[k], g.kind);
    pack_put<N>(g.dx + i, d, g.add);
    if (!g.y)
        return d;
    for (int k = 0; k < N; k++)
        v.at[k] = activation_value(v.at[k], g.kind);
    pack_store<N>(g.y + i, v);
    return d;
}

template <int N, class From, class T> static __global__ void activation_grad_kernel(ActivationGrad<From, T> g)
{
    int64_t i = thread_number() * N;
    if (i < g.rows * g.n)
        activation_grad_pack<N>(g, i);
}

/* With column sums a block takes a tile of rows and as many columns as a warp's packs; its warps take every WARPS-th row. */
template <int N, class From, class T> static __global__ void activation_grad_sums_kernel(ActivationGrad<From, T> g)
{
    int64_t column = ((int64_t)blockIdx.y * WARP + lane_number()) * N, first = (int64_t)blockIdx.x * OPERAND_TILE,
            end = first + OPERAND_TILE < g.rows ? first + OPERAND_TILE : g.rows;
    Floats<N> sum = {};
    for (int64_t row = first + threadIdx.x / WARP; row < end && column < g.n; row += WARPS) {
        Floats<N> d = activation_grad_pack<N>(g, row * g.n + column);
        for (int k = 0; k < N; k++)
            sum.at[k] += d.at[k];
    }
    warps_sum<N>(sum, g.partials + blockIdx.x * g.n + column, column < g.n);
}

template <class From, class T> static void activation_grad_launch(const Call *c, CudaStream *s)
{
    const Tensor *dx = &c->out[ACTIVATION_GRAD_DX];
    float *sums = data_of(&c->out[ACTIVATION_GRAD_SUMS]);
    ActivationGrad<From, T> g = {};
    g.rows = dx->rows;
    g.n = dx->columns;
    g.dy = data_of<From>(&c->in[ACTIVATION_GRAD_DY]);
    g.x = data_of<T>(&c->in[ACTIVATION_GRAD_X]);
    g.dx = data_of<T>(dx);
    g.y = data_of<Bf16>(&c->out[ACTIVATION_GRAD_Y]);
    g.kind = ((const ActivationAttr *)c->attr)->kind;
    g.add = call_accumulates(c, ACTIVATION_GRAD_DX);
    if (!sums) {
        with_pack(packs_fit(g.rows * g.n, g.dy, g.x, g.dx, g.y), [&](auto n) {
            cuda_launch(s, activation_grad_kernel<n.value, From, T>, blocks_of(g.rows * g.n, BLOCK * n.value), dim3(BLOCK), 0,
                        g);
        });
        return;
    }
    int64_t tiles = pieces(g.rows, OPERAND_TILE);
    g.partials = static_cast<float *>(c->work);
    with_pack(packs_fit(g.n, g.dy, g.x, g.dx, g.y, g.partials), [&](auto n) {
        cuda_launch(s, activation_grad_sums_kernel<n.value, From, T>,
                    dim3((unsigned)tiles, (unsigned)pieces(g.n, WARP * n.value)), dim3(BLOCK), 0, g);
    });
    partials_add(s, g.partials, tiles, g.n, g.n, sums, call_accumulates(c, ACTIVATION_GRAD_SUMS));
}

/* dx is of x's type. */
extern "C" bool CUDA(activation_grad)(const Call *c, CudaStream *s)
{
    with_type(c->in[ACTIVATION_GRAD_DY].dtype, [&](auto from) {
        with_type(c->in[ACTIVATION_GRAD_X].dtype, [&](auto t) { activation_grad_launch<decltype(from), decltype(t)>(c, s); });
    });
    return cuda_launched(s, "activation_grad");
}
