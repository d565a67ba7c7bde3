/* Blocks take WARP columns, a lane each; their warps share the rows, and their sums are added in order. */
#include "ops/batch_norm/attr.h"
#include "ops/cuda.cuh"

/* The sum of what the block's warps have for this lane's column; every warp gets it. */
static __device__ inline double column_sum(double x)
{
    SHARED(double, parts, WARPS *WARP);
    __syncthreads();
    parts[threadIdx.x] = x;
    __syncthreads();
    double sum = 0;
    for (int w = 0; w < WARPS; w++)
        sum += parts[w * WARP + lane_number()];
    return sum;
}

static __global__ void batch_norm_kernel(const float *x, float *y, float *stats, float *running, int64_t rows, int64_t n,
                                         BatchNormAttr attr)
{
    int64_t i = (int64_t)blockIdx.x * WARP + lane_number(), first = threadIdx.x / WARP;
    bool mine = i < n;
    double sum = 0, square = 0;
    for (int64_t row = first; mine && row < rows; row += WARPS)
        sum += (double)x[row * n + i];
    double mean = column_sum(sum) / (double)rows;
    for (int64_t row = first; mine && row < rows; row += WARPS)
        square += ((double)x[row * n + i] - mean) * ((double)x[row * n + i] - mean);
    square = column_sum(square);
    double scale = 1 / sqrt(square / (double)rows + attr.eps);
    for (int64_t row = first; mine && row < rows; row += WARPS)
        y[row * n + i] = (float)(((double)x[row * n + i] - mean) * scale);
    if (!mine || first > 0)
        return;
    stats[i] = (float)mean;
    stats[n + i] = (float)scale;
    if (!running)
        return;
    running[i] = (float)((1 - attr.momentum) * (double)running[i] + attr.momentum * mean);
    running[n + i] = (float)((1 - attr.momentum) * (double)running[n + i] + attr.momentum * square / (double)(rows - 1));
}

extern "C" bool CUDA(batch_norm)(const Call *c, CudaStream *s)
{
    int64_t n = c->in[0].columns;
    cuda_launch(s, batch_norm_kernel, blocks_of(n, WARP), dim3(BLOCK), 0, data_of(&c->in[0]), data_of(&c->out[0]),
                data_of(&c->out[1]), data_of(&c->out[2]), c->in[0].rows, n, *(const BatchNormAttr *)c->attr);
    return cuda_launched(s, "batch_norm");
}

/* dx = scale (dy - mean(dy) - y mean(dy y)) */
static __global__ void batch_norm_grad_kernel(const float *dy, const float *x, const float *stats, float *dx, int64_t rows,
                                              int64_t n, bool add)
{
    int64_t i = (int64_t)blockIdx.x * WARP + lane_number(), first = threadIdx.x / WARP;
    bool mine = i < n;
    double mean = mine ? (double)stats[i] : 0, scale = mine ? (double)stats[n + i] : 0, plain = 0, along = 0;
    for (int64_t row = first; mine && row < rows; row += WARPS) {
        double d = dy[row * n + i];
        plain += d;
        along += d * ((double)x[row * n + i] - mean) * scale;
    }
    plain = column_sum(plain) / (double)rows;
    along = column_sum(along) / (double)rows;
    for (int64_t row = first; mine && row < rows; row += WARPS) {
        int64_t at = row * n + i;
        float value = (float)(scale * ((double)dy[at] - plain - ((double)x[at] - mean) * scale * along));
        dx[at] = add ? dx[at] + value : value;
    }
}

extern "C" bool CUDA(batch_norm_grad)(const Call *c, CudaStream *s)
{
    int64_t n = c->in[0].columns;
    cuda_launch(s, batch_norm_grad_kernel, blocks_of(n, WARP), dim3(BLOCK), 0, data_of(&c->in[0]), data_of(&c->in[1]),
                data_of(&c->in[2]), data_of(&c->out[0]), c->in[0].rows, n, call_accumulates(c, 0));
    return cuda_launched(s, "batch_norm_grad");
}

/* y = or += (x - mean) / deviation, by the running statistics; a gradient (`centred` false) is not centred. */
static __global__ void batch_norm_fixed_kernel(const float *x, const float *running, float *y, int64_t count, int64_t n,
                                               double eps, bool centred, bool add)
{
    int64_t at = thread_number();
    if (at >= count)
        return;
    int64_t i = at % n;
    double value = ((double)x[at] - (centred ? (double)running[i] : 0)) / sqrt((double)running[n + i] + eps);
    y[at] = add ? (float)((double)y[at] + value) : (float)value;
}

static void fixed_launch(const Call *c, CudaStream *s, bool centred)
{
    cuda_launch(s, batch_norm_fixed_kernel, blocks_of(count_of(&c->in[0]), BLOCK), dim3(BLOCK), 0, data_of(&c->in[0]),
                data_of(&c->in[1]), data_of(&c->out[0]), count_of(&c->in[0]), c->in[0].columns,
                ((const BatchNormAttr *)c->attr)->eps, centred, call_accumulates(c, 0));
}

extern "C" bool CUDA(batch_norm_fixed)(const Call *c, CudaStream *s)
{
    fixed_launch(c, s, true);
    return cuda_launched(s, "batch_norm_fixed");
}

extern "C" bool CUDA(batch_norm_fixed_grad)(const Call *c, CudaStream *s)
{
    fixed_launch(c, s, false);
    return cuda_launched(s, "batch_norm_fixed_grad");
}
