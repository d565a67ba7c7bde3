#include "ops/cuda.cuh"
#include "ops/upsample/work.h"

static __global__ void upsample_kernel(const float *x, float *y, int64_t count, int64_t n, UpsampleAttr a)
{
    int64_t at = thread_number();
    if (at >= count)
        return;
    int64_t pixel = at / n, i = at % n;
    UpsampleBetween v = upsample_between(pixel / a.width % a.height, a.rows, a.height),
                    h = upsample_between(pixel % a.width, a.columns, a.width);
    const float *from = x + pixel / (a.height * a.width) * a.rows * a.columns * n + i;
    const float *above = from + v.first * a.columns * n, *below = from + v.second * a.columns * n;
    float up = above[h.first * n] * (1 - h.share) + above[h.second * n] * h.share;
    float down = below[h.first * n] * (1 - h.share) + below[h.second * n] * h.share;
    y[at] = up * (1 - v.share) + down * v.share;
}

extern "C" bool CUDA(upsample)(const Call *c, CudaStream *s)
{
    const Tensor *y = &c->out[0];
    cuda_launch(s, upsample_kernel, blocks_of(count_of(y), BLOCK), dim3(BLOCK), 0, data_of(&c->in[0]), data_of(y), count_of(y),
                y->columns, *(const UpsampleAttr *)c->attr);
    return cuda_launched(s, "upsample");
}

static __global__ void upsample_grad_kernel(const float *dy, float *dx, int64_t count, int64_t n, UpsampleAttr a, bool add)
{
    int64_t at = thread_number();
    if (at >= count)
        return;
    int64_t i = at % n, token = at / n % (a.rows * a.columns), row = token / a.columns, column = token % a.columns;
    int64_t left = upsample_begin(column, a.columns, a.width), right = upsample_end(column, a.columns, a.width);
    const float *from = dy + at / n / (a.rows * a.columns) * a.height * a.width * n + i;
    float sum = 0;
    for (int64_t y = upsample_begin(row, a.rows, a.height); y < upsample_end(row, a.rows, a.height); y++) {
        float high = upsample_weight(y, row, a.rows, a.height);
        for (int64_t x = left; high != 0 && x < right; x++)
            sum += from[(y * a.width + x) * n] * (high * upsample_weight(x, column, a.columns, a.width));
    }
    dx[at] = add ? dx[at] + sum : sum;
}

extern "C" bool CUDA(upsample_grad)(const Call *c, CudaStream *s)
{
    const Tensor *dx = &c->out[0];
    cuda_launch(s, upsample_grad_kernel, blocks_of(count_of(dx), BLOCK), dim3(BLOCK), 0, data_of(&c->in[0]), data_of(dx),
                count_of(dx), dx->columns, *(const UpsampleAttr *)c->attr, call_accumulates(c, 0));
    return cuda_launched(s, "upsample_grad");
}
