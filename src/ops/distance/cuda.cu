#include "ops/cuda.cuh"
#include "ops/distance/attr.h"

typedef struct {
    int64_t rows, n;
    const float *pred, *target, *weight, *scale; /* weight may be NULL */
    DistanceKind kind;
    float beta;
} Distance;

static Distance distance_of(const Call *c)
{
    const DistanceAttr *attr = (const DistanceAttr *)c->attr;
    return Distance{.rows = c->in[0].rows,
                    .n = c->in[0].columns,
                    .pred = data_of(&c->in[0]),
                    .target = data_of(&c->in[1]),
                    .weight = data_of(&c->in[2]),
                    .scale = data_of(&c->in[3]),
                    .kind = attr->kind,
                    .beta = (float)attr->beta};
}

static __device__ inline float distance_one(float e, DistanceKind kind, float beta)
{
    if (kind == DISTANCE_L2)
        return e * e;
    float size = fabsf(e);
    return kind == DISTANCE_L1 ? size : size < beta ? e * e * (0.5f / beta) : size - 0.5f * beta;
}

static __device__ inline float distance_slope(float e, DistanceKind kind, float beta)
{
    if (kind == DISTANCE_L2)
        return 2.0f * e;
    float sign = (float)((e > 0) - (e < 0));
    return kind == DISTANCE_L1 || fabsf(e) >= beta ? sign : e / beta;
}

/* A block a tile of DISTANCE_TILE rows, a warp a row. */
template <int N> static __global__ void distance_kernel(Distance d, double *partial)
{
    int64_t first = (int64_t)blockIdx.x * DISTANCE_TILE, end = first + DISTANCE_TILE < d.rows ? first + DISTANCE_TILE : d.rows;
    double sum = 0;
    for (int64_t row = first + threadIdx.x / WARP; row < end; row += WARPS) {
        float weight = d.weight ? d.weight[row] : 1.0f, row_sum = 0;
        if (weight == 0) /* whatever is predicted where nothing counts */
            continue;
        for (int64_t i = row * d.n + lane_number() * N; i < (row + 1) * d.n; i += WARP * N) {
            Floats<N> p = pack_load<N>(d.pred + i), t = pack_load<N>(d.target + i);
            for (int k = 0; k < N; k++)
                row_sum += distance_one(p.at[k] - t.at[k], d.kind, d.beta);
        }
        sum += (double)weight * row_sum;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void distance_end_kernel(const double *partial, int64_t count, const float *scale, double per_row,
                                           float *loss)
{
    double sum = partials_sum(partial, count);
    if (threadIdx.x == 0)
        *loss = (float)(sum * per_row * (double)*scale);
}

extern "C" bool CUDA(distance)(const Call *c, CudaStream *s)
{
    Distance d = distance_of(c);
    double *partial = static_cast<double *>(c->work);
    int64_t tiles = pieces(d.rows, DISTANCE_TILE);
    with_pack(packs_fit(d.n, d.pred, d.target),
              [&](auto n) { cuda_launch(s, distance_kernel<n.value>, dim3((unsigned)tiles), dim3(BLOCK), 0, d, partial); });
    cuda_launch(s, distance_end_kernel, dim3(1), dim3(BLOCK), 0, partial, tiles, d.scale, 1.0 / (double)d.n,
                data_of(&c->out[0]));
    return cuda_launched(s, "distance");
}

template <int N> static __global__ void distance_grad_kernel(Distance d, const float *dloss, float *dpred, bool add)
{
    int64_t i = thread_number() * N;
    if (i >= d.rows * d.n)
        return;
    int64_t row = i / d.n;
    float weight = d.weight ? d.weight[row] : 1.0f, factor = weight * *d.scale * *dloss / (float)d.n;
    Floats<N> v = {};
    if (weight != 0) {
        Floats<N> p = pack_load<N>(d.pred + i), t = pack_load<N>(d.target + i);
        for (int k = 0; k < N; k++)
            v.at[k] = factor * distance_slope(p.at[k] - t.at[k], d.kind, d.beta);
    }
    pack_put<N>(dpred + i, v, add);
}

extern "C" bool CUDA(distance_grad)(const Call *c, CudaStream *s)
{
    Distance d = distance_of(c);
    float *dpred = data_of(&c->out[0]);
    with_pack(packs_fit(d.n, d.pred, d.target, dpred), [&](auto n) {
        cuda_launch(s, distance_grad_kernel<n.value>, blocks_of(d.rows * d.n, BLOCK * n.value), dim3(BLOCK), 0, d,
                    data_of(&c->in[4]), dpred, call_accumulates(c, 0));
    });
    return cuda_launched(s, "distance_grad");
}
