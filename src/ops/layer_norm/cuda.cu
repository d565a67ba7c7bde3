#include "ops/layer_norm/layer_norm.h"

#include "ops/layer_norm/work.h"
#include "ops/row.cuh"

/* A warp a row. stats may be NULL. */
template <int N, class From, class To>
static __global__ void layer_norm_kernel(const From *x, const float *gamma, const float *beta, To *y, float *stats,
                                         int64_t rows, int64_t n, float eps)
{
    int64_t row = warp_number();
    if (row >= rows)
        return;
    x += row * n;
    y += row * n;
    float mean, spread;
    row_statistics<N>(x, n, &mean, &spread);
    float inverse = 1.0f / sqrtf(spread / (float)n + eps);
    for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
        Floats<N> v = pack_load<N>(x + i), g = pack_load<N>(gamma + i), b = pack_load<N>(beta + i);
        for (int k = 0; k < N; k++)
            v.at[k] = (v.at[k] - mean) * inverse * g.at[k] + b.at[k];
        pack_store<N>(y + i, v);
    }
    if (stats && lane_number() == 0) {
        stats[2 * row] = mean;
        stats[2 * row + 1] = inverse;
    }
}

template <class From, class To> static void layer_norm_launch(const Call *c, CudaStream *s)
{
    const From *x = data_of<From>(&c->in[0]);
    const float *gamma = data_of(&c->in[1]), *beta = data_of(&c->in[2]);
    To *y = data_of<To>(&c->out[0]);
    int64_t rows = c->in[0].rows, n = c->in[0].columns;
    with_pack(packs_fit(n, x, gamma, beta, y), [&](auto p) {
        cuda_launch(s, layer_norm_kernel<p.value, From, To>, blocks_of(rows, WARPS), dim3(BLOCK), 0, x, gamma, beta, y,
                    data_of(&c->out[1]), rows, n, (float)((const LayerNormAttr *)c->attr)->eps);
    });
}

extern "C" bool CUDA(layer_norm)(const Call *c, CudaStream *s)
{
    with_type(c->in[0].dtype, [&](auto from) {
        with_type(c->out[0].dtype, [&](auto to) { layer_norm_launch<decltype(from), decltype(to)>(c, s); });
    });
    return cuda_launched(s, "layer_norm");
}

template <class From, class T> struct LayerNormGrad {
    int64_t rows, n;
    const From *dy;
    const T *x;
    const float *stats, *gamma, *beta;
    T *dx; /* may be dy; may be NULL, as those: */
    Bf16 *y;
    bool add_dx, wants_sums;
    float *partial; /* two rows of n sums for each tile of LAYER_NORM_TILE rows: of dgamma, of dbeta */
    bool in_shared; /* sums grow in shared memory */
};

/* Adds rows `first` up to `end` to the sums of their columns, or begins these. A thread has the same columns in every call. */
template <int N, class From, class T>
static __device__ void column_sums(const LayerNormGrad<From, T> &g, int64_t first, int64_t end, float *sums, bool add)
{
    for (int64_t i = threadIdx.x * N; i < g.n; i += BLOCK * N) {
        Floats<N> product = {}, sum = {};
        for (int64_t row = first; row < end; row++) {
            Floats<N> d = pack_load<N>(g.dy + row * g.n + i), v = pack_load<N>(g.x + row * g.n + i);
            for (int k = 0; k < N; k++) {
                product.at[k] += d.at[k] * ((v.at[k] - g.stats[2 * row]) * g.stats[2 * row + 1]);
                sum.at[k] += d.at[k];
            }
        }
        pack_put<N>(sums + i, product, add);
        pack_put<N>(sums + g.n + i, sum, add);
    }
}

/* One row, by a warp. */
template <int N, class From, class T> static __device__ void row_gradient(const LayerNormGrad<From, T> &g, int64_t row)
{
    const From *dy = g.dy + row * g.n;
    const T *x = g.x + row * g.n;
    float mean = g.stats[2 * row], inverse = g.stats[2 * row + 1], sum = 0, product = 0;
    for (int64_t i = lane_number() * N; g.dx && i < g.n; i += WARP * N) {
        Floats<N> d = pack_load<N>(dy + i), v = pack_load<N>(x + i), w = pack_load<N>(g.gamma + i);
        for (int k = 0; k < N; k++) {
            sum += d.at[k] * w.at[k];
            product += d.at[k] * w.at[k] * ((v.at[k] - mean) * inverse);
        }
    }
    sum = warp_sum(sum) / (float)g.n;
    product = warp_sum(product) / (float)g.n;
    for (int64_t i = lane_number() * N; i < g.n; i += WARP * N) {
        Floats<N> d = pack_load<N>(dy + i), v = pack_load<N>(x + i), w = pack_load<N>(g.gamma + i);
        for (int k = 0; k < N; k++) {
            v.at[k] = (v.at[k] - mean) * inverse;
            d.at[k] = (d.at[k] * w.at[k] - sum - v.at[k] * product) * inverse;
        }
        if (g.dx)
            pack_put<N>(g.dx + row * g.n + i, d, g.add_dx);
        if (!g.y)
            continue;
        Floats<N> b = pack_load<N>(g.beta + i);
        for (int k = 0; k < N; k++)
            v.at[k] = v.at[k] * w.at[k] + b.at[k];
        pack_store<N>(g.y + row * g.n + i, v);
    }
}

/* A block a tile of LAYER_NORM_TILE rows, a row a warp at a time where the sums have room in shared memory: what they have read
 * of these rows is in the cache when their gradient is taken. dx may be dy, so the sums come first. */
template <int N, class From, class T> static __global__ void layer_norm_grad_kernel(LayerNormGrad<From, T> g)
{
    SHARED_DYNAMIC(float, shared);
    int64_t first = (int64_t)blockIdx.x * LAYER_NORM_TILE,
            end = first + LAYER_NORM_TILE < g.rows ? first + LAYER_NORM_TILE : g.rows,
            step = g.in_shared ? (int64_t)WARPS : (int64_t)LAYER_NORM_TILE;
    float *partial = g.partial + (int64_t)blockIdx.x * 2 * g.n, *sums = g.in_shared ? shared : partial;
    for (int64_t row = first; row < end; row += step) {
        int64_t stop = row + step < end ? row + step : end;
        if (g.wants_sums) {
            column_sums<N>(g, row, stop, sums, row > first);
            __syncthreads();
        }
        for (int64_t r = row + threadIdx.x / WARP; (g.dx || g.y) && r < stop; r += WARPS)
            row_gradient<N>(g, r);
    }
    for (int64_t i = threadIdx.x * N; g.wants_sums && g.in_shared && i < g.n; i += BLOCK * N) {
        pack_store<N>(partial + i, pack_load<N>(sums + i));
        pack_store<N>(partial + g.n + i, pack_load<N>(sums + g.n + i));
    }
}

template <class From, class T> static void layer_norm_grad_launch(const Call *c, CudaStream *s)
{
    float *dgamma = data_of(&c->out[1]), *dbeta = data_of(&c->out[2]);
    LayerNormGrad<From, T> g = {};
    g.rows = c->in[0].rows;
    g.n = c->in[0].columns;
    g.dy = data_of<From>(&c->in[0]);
    g.x = data_of<T>(&c->in[1]);
    g.stats = data_of(&c->in[2]);
    g.gamma = data_of(&c->in[3]);
    g.beta = data_of(&c->in[4]);
    g.dx = data_of<T>(&c->out[0]);
    g.y = data_of<Bf16>(&c->out[3]);
    g.add_dx = call_accumulates(c, 0);
    g.wants_sums = dgamma || dbeta;
    g.partial = static_cast<float *>(c->work);
    size_t shared = (size_t)g.n * 2 * sizeof(float);
    g.in_shared = g.wants_sums && shared <= 48 << 10;
    int64_t tiles = pieces(g.rows, LAYER_NORM_TILE);
    with_pack(packs_fit(g.n, g.dy, g.x, g.gamma, g.beta, g.dx, g.y, g.partial), [&](auto n) {
        cuda_launch(s, layer_norm_grad_kernel<n.value, From, T>, dim3((unsigned)tiles), dim3(BLOCK), g.in_shared ? shared : 0,
                    g);
    });
    if (dgamma)
        partials_add(s, g.partial, tiles, 2 * g.n, g.n, dgamma, call_accumulates(c, 1));
    if (dbeta)
        partials_add(s, g.partial + g.n, tiles, 2 * g.n, g.n, dbeta, call_accumulates(c, 2));
}

/* dx is of x's type. */
extern "C" bool CUDA(layer_norm_grad)(const Call *c, CudaStream *s)
{
    with_type(c->in[0].dtype, [&](auto from) {
        with_type(c->in[1].dtype, [&](auto t) { layer_norm_grad_launch<decltype(from), decltype(t)>(c, s); });
    });
    return cuda_launched(s, "layer_norm_grad");
}
