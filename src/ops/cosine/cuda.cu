/* A warp a row: one pass for its three sums, and for the gradient a second one that writes. */
#include "ops/cosine/work.h"
#include "ops/cuda.cuh"

typedef struct {
    int64_t rows, n;
    const float *pred, *target, *weight, *scale; /* weight may be NULL */
} Cosine;

static Cosine cosine_of(const Call *c)
{
    return Cosine{.rows = c->in[0].rows,
                  .n = c->in[0].columns,
                  .pred = data_of(&c->in[0]),
                  .target = data_of(&c->in[1]),
                  .weight = data_of(&c->in[2]),
                  .scale = data_of(&c->in[3])};
}

typedef struct {
    float cosine, p_norm, t_norm;
} RowCosine;

template <int N> static __device__ inline RowCosine row_cosine(const float *pred, const float *target, int64_t n)
{
    float both = 0, pp = 0, tt = 0;
    for (int64_t i = lane_number() * N; i < n; i += WARP * N) {
        Floats<N> p = pack_load<N>(pred + i), t = pack_load<N>(target + i);
        for (int k = 0; k < N; k++) {
            both += p.at[k] * t.at[k];
            pp += p.at[k] * p.at[k];
            tt += t.at[k] * t.at[k];
        }
    }
    RowCosine r;
    r.p_norm = fmaxf(sqrtf(warp_sum(pp)), (float)COSINE_LEAST);
    r.t_norm = fmaxf(sqrtf(warp_sum(tt)), (float)COSINE_LEAST);
    r.cosine = warp_sum(both) / r.p_norm / r.t_norm;
    return r;
}

/* A block a tile of COSINE_TILE rows. */
template <int N> static __global__ void cosine_kernel(Cosine a, double *partial)
{
    int64_t first = (int64_t)blockIdx.x * COSINE_TILE, end = first + COSINE_TILE < a.rows ? first + COSINE_TILE : a.rows;
    double sum = 0;
    for (int64_t row = first + threadIdx.x / WARP; row < end; row += WARPS) {
        float weight = a.weight ? a.weight[row] : 1.0f;
        if (weight == 0) /* whatever is predicted where nothing counts */
            continue;
        RowCosine r = row_cosine<N>(a.pred + row * a.n, a.target + row * a.n, a.n);
        if (lane_number() == 0)
            sum += (double)weight * (2.0 - 2.0 * (double)r.cosine);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void cosine_end_kernel(const double *partial, int64_t count, const float *scale, float *loss)
{
    double sum = partials_sum(partial, count);
    if (threadIdx.x == 0)
        *loss = (float)(sum * (double)*scale);
}

extern "C" bool CUDA(cosine)(const Call *c, CudaStream *s)
{
    Cosine a = cosine_of(c);
    double *partial = static_cast<double *>(c->work);
    int64_t tiles = pieces(a.rows, COSINE_TILE);
    with_pack(packs_fit(a.n, a.pred, a.target),
              [&](auto n) { cuda_launch(s, cosine_kernel<n.value>, dim3((unsigned)tiles), dim3(BLOCK), 0, a, partial); });
    cuda_launch(s, cosine_end_kernel, dim3(1), dim3(BLOCK), 0, partial, tiles, a.scale, data_of(&c->out[0]));
    return cuda_launched(s, "cosine");
}

template <int N> static __global__ void cosine_grad_kernel(Cosine a, const float *dloss, float *dpred, bool add)
{
    int64_t row = warp_number();
    if (row >= a.rows)
        return;
    const float *pred = a.pred + row * a.n, *target = a.target + row * a.n;
    float weight = a.weight ? a.weight[row] : 1.0f, ahead = 0, back = 0;
    if (weight != 0) {
        RowCosine r = row_cosine<N>(pred, target, a.n);
        float factor = -2.0f * weight * *a.scale * *dloss / r.p_norm;
        ahead = factor / r.t_norm;
        back = r.p_norm > (float)COSINE_LEAST ? factor * r.cosine / r.p_norm : 0.0f;
    }
    for (int64_t i = lane_number() * N; i < a.n; i += WARP * N) {
        Floats<N> v = {};
        if (weight != 0) {
            Floats<N> p = pack_load<N>(pred + i), t = pack_load<N>(target + i);
            for (int k = 0; k < N; k++)
                v.at[k] = t.at[k] * ahead - p.at[k] * back;
        }
        pack_put<N>(dpred + row * a.n + i, v, add);
    }
}

extern "C" bool CUDA(cosine_grad)(const Call *c, CudaStream *s)
{
    Cosine a = cosine_of(c);
    float *dpred = data_of(&c->out[0]);
    with_pack(packs_fit(a.n, a.pred, a.target, dpred), [&](auto n) {
        cuda_launch(s, cosine_grad_kernel<n.value>, blocks_of(a.rows, WARPS), dim3(BLOCK), 0, a, data_of(&c->in[4]), dpred,
                    call_accumulates(c, 0));
    });
    return cuda_launched(s, "cosine_grad");
}
