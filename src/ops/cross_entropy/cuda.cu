/* A warp a head of a row. */
#include "ops/cross_entropy/work.h"
#include "ops/cuda.cuh"

typedef struct {
    int64_t rows, heads, classes;
    const float *logits, *targets, *scale;
    const int32_t *labels; /* this or targets is NULL */
    float smoothing;
} Entropy;

static Entropy entropy_of(const Call *c)
{
    const CrossEntropyAttr *attr = (const CrossEntropyAttr *)c->attr;
    return Entropy{.rows = c->in[0].rows,
                   .heads = c->in[0].columns / attr->classes,
                   .classes = attr->classes,
                   .logits = data_of(&c->in[0]),
                   .targets = data_of(&c->in[2]),
                   .scale = data_of(&c->in[3]),
                   .labels = data_of<int32_t>(&c->in[1]),
                   .smoothing = (float)attr->smoothing};
}

static __device__ inline float entropy_target(const Entropy &e, int64_t row, int64_t i)
{
    if (e.targets)
        return e.targets[row * e.classes + i];
    return (e.labels[row] == i ? 1.0f - e.smoothing : 0.0f) + e.smoothing / (float)e.classes;
}

static __device__ inline float log_sum(const float *z, int64_t n)
{
    float most = -INFINITY, sum = 0;
    for (int64_t i = lane_number(); i < n; i += WARP)
        most = fmaxf(most, z[i]);
    for (int step = WARP / 2; step; step /= 2)
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
    for (int64_t i = lane_number(); i < n; i += WARP)
        sum += expf(z[i] - most);
    return most + logf(warp_sum(sum));
}

/* A block a tile of CROSS_ENTROPY_TILE rows. */
static __global__ void cross_entropy_kernel(Entropy e, double *partial)
{
    int64_t first = (int64_t)blockIdx.x * CROSS_ENTROPY_TILE,
            end = first + CROSS_ENTROPY_TILE < e.rows ? first + CROSS_ENTROPY_TILE : e.rows;
    double sum = 0;
    for (int64_t at = first * e.heads + threadIdx.x / WARP; at < end * e.heads; at += WARPS) {
        int64_t row = at / e.heads;
        if (e.labels && e.labels[row] < 0)
            continue;
        const float *z = e.logits + at * e.classes;
        float all = log_sum(z, e.classes);
        for (int64_t i = lane_number(); i < e.classes; i += WARP)
            sum += (double)(entropy_target(e, row, i) * (all - z[i]));
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void cross_entropy_end_kernel(const double *partial, int64_t count, const float *scale, float *loss)
{
    double sum = partials_sum(partial, count);
    if (threadIdx.x == 0)
        *loss = (float)(sum * (double)*scale);
}

extern "C" bool CUDA(cross_entropy)(const Call *c, CudaStream *s)
{
    Entropy e = entropy_of(c);
    double *partial = static_cast<double *>(c->work);
    int64_t tiles = pieces(e.rows, CROSS_ENTROPY_TILE);
    cuda_launch(s, cross_entropy_kernel, dim3((unsigned)tiles), dim3(BLOCK), 0, e, partial);
    cuda_launch(s, cross_entropy_end_kernel, dim3(1), dim3(BLOCK), 0, partial, tiles, e.scale, data_of(&c->out[0]));
    return cuda_launched(s, "cross_entropy");
}

/* d/dz_i = p_i sum(t) - t_i. */
static __global__ void cross_entropy_grad_kernel(Entropy e, const float *dloss, float *dlogits, bool add)
{
    int64_t at = warp_number(), row = at / e.heads;
    if (at >= e.rows * e.heads)
        return;
    const float *z = e.logits + at * e.classes;
    bool counts = !e.labels || e.labels[row] >= 0;
    float factor = counts ? *e.scale * *dloss : 0.0f, total = 0, all = log_sum(z, e.classes);
    for (int64_t i = lane_number(); i < e.classes; i += WARP)
        total += entropy_target(e, row, i);
    total = warp_sum(total);
    for (int64_t i = lane_number(); i < e.classes; i += WARP) {
        float value = factor == 0 ? 0.0f : factor * (expf(z[i] - all) * total - entropy_target(e, row, i));
        float *to = dlogits + at * e.classes + i;
        *to = add ? *to + value : value;
    }
}

extern "C" bool CUDA(cross_entropy_grad)(const Call *c, CudaStream *s)
{
    Entropy e = entropy_of(c);
    cuda_launch(s, cross_entropy_grad_kernel, blocks_of(e.rows * e.heads, WARPS), dim3(BLOCK), 0, e, data_of(&c->in[4]),
                data_of(&c->out[0]), call_accumulates(c, 0));
    return cuda_launched(s, "cross_entropy_grad");
}
