/* LayerNorm and its gradient on a GPU, for this room and `linear`. */
#ifndef LACUNA_OPS_LAYER_NORM_CUDA_CUH
#define LACUNA_OPS_LAYER_NORM_CUDA_CUH

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

/* The same from known statistics. */
template <int N, class From, class To>
static __global__ void layer_norm_again_kernel(const From *x, const float *gamma, const float *beta, To *y, const float *stats,
                                               int64_t rows, int64_t n)
{
    int64_t at = thread_number() * N;
    if (at >= rows * n)
        return;
    int64_t row = at / n, i = at - row * n;
    float mean = stats[2 * row], inverse = stats[2 * row + 1];
    Floats<N> v = pack_load<N>(x + at), g = pack_load<N>(gamma + i), b = pack_load<N>(beta + i);
    for (int k = 0; k < N; k++)
        v.at[k] = (v.at[k] - mean) * inverse * g.at[k] + b.at[k];
    pack_store<N>(y + at, v);
}

typedef struct {
    int64_t rows, n;
    const float *dy, *stats, *gamma;
    const void *x;
    void *dx; /* of x's type; may be dy; may be NULL, as those: */
    float *dgamma, *dbeta;
    bool add_dx, add_dgamma, add_dbeta;
    float *partial; /* layer_norm_partial_floats() */
} LayerNormGrad;

/* Workspace: two rows of n sums for each tile of rows. */
static inline int64_t layer_norm_partial_floats(int64_t rows, int64_t n)
{
    return (rows + LAYER_NORM_TILE - 1) / LAYER_NORM_TILE * 2 * n;
}

/* A block a tile of LAYER_NORM_TILE rows: dx by rows, then the sums down the columns while the rows are in the cache. dx may be
 * dy, so the sums come first. */
template <int N, class T> static __global__ void layer_norm_grad_kernel(LayerNormGrad g)
{
    const T *all_x = static_cast<const T *>(g.x);
    int64_t n = g.n, first = (int64_t)blockIdx.x * LAYER_NORM_TILE,
            end = first + LAYER_NORM_TILE < g.rows ? first + LAYER_NORM_TILE : g.rows;
    if (g.dgamma || g.dbeta) {
        float *partial = g.partial + (int64_t)blockIdx.x * 2 * n;
        for (int64_t i = threadIdx.x * N; i < n; i += BLOCK * N) {
            Floats<N> product = {}, sum = {};
            for (int64_t row = first; row < end; row++) {
                Floats<N> d = pack_load<N>(g.dy + row * n + i), v = pack_load<N>(all_x + row * n + i);
                for (int k = 0; k < N; k++) {
                    product.at[k] += d.at[k] * ((v.at[k] - g.stats[2 * row]) * g.stats[2 * row + 1]);
                    sum.at[k] += d.at[k];
                }
            }
            pack_store<N>(partial + i, product);
            pack_store<N>(partial + n + i, sum);
        }
    }
    if (!g.dx)
        return;
    __syncthreads();
    for (int64_t row = first + threadIdx.x / WARP; row < end; row += WARPS) {
        const float *dy = g.dy + row * n;
        const T *x = all_x + row * n;
        float mean = g.stats[2 * row], inverse = g.stats[2 * row + 1], sum = 0, product = 0;
        for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
            Floats<N> d = pack_load<N>(dy + i), v = pack_load<N>(x + i), w = pack_load<N>(g.gamma + i);
            for (int k = 0; k < N; k++) {
                sum += d.at[k] * w.at[k];
                product += d.at[k] * w.at[k] * ((v.at[k] - mean) * inverse);
            }
        }
        sum = warp_sum(sum) / (float)n;
        product = warp_sum(product) / (float)n;
        for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
            Floats<N> d = pack_load<N>(dy + i), v = pack_load<N>(x + i), w = pack_load<N>(g.gamma + i);
            for (int k = 0; k < N; k++)
                d.at[k] = (d.at[k] * w.at[k] - sum - (v.at[k] - mean) * inverse * product) * inverse;
            pack_put<N>(static_cast<T *>(g.dx) + row * n + i, d, g.add_dx);
        }
    }
}

static inline void layer_norm_grad_launch(CudaStream *s, const LayerNormGrad &g, DType type)
{
    int64_t tiles = pieces(g.rows, LAYER_NORM_TILE);
    with_pack(packs_fit(g.n, g.dy, static_cast<const float *>(g.x), g.gamma, static_cast<float *>(g.dx), g.partial),
              [&](auto n) {
                  with_type(type, [&](auto t) {
                      cuda_launch(s, layer_norm_grad_kernel<n.value, decltype(t)>, dim3((unsigned)tiles), dim3(BLOCK), 0, g);
                  });
              });
    if (g.dgamma)
        partials_add(s, g.partial, tiles, 2 * g.n, g.n, g.dgamma, g.add_dgamma);
    if (g.dbeta)
        partials_add(s, g.partial + g.n, tiles, 2 * g.n, g.n, g.dbeta, g.add_dbeta);
}

#endif
