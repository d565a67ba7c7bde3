#include "ops/cuda.cuh"
#include "ops/pool/attr.h"

static __global__ void pool_kernel(const float *x, float *y, int64_t rows, int64_t n, PoolAttr attr)
{
    int64_t at = thread_number();
    if (at >= rows * n)
        return;
    int64_t row = at / n, i = at % n;
    float sum = 0;
    for (int64_t t = attr.first; t < attr.first + attr.count; t++)
        sum += x[(row * attr.tokens + t) * n + i];
    y[at] = sum / (float)attr.count;
}

extern "C" bool CUDA(pool)(const Call *c, CudaStream *s)
{
    const Tensor *y = &c->out[0];
    cuda_launch(s, pool_kernel, blocks_of(count_of(y), BLOCK), dim3(BLOCK), 0, data_of(&c->in[0]), data_of(y), y->rows,
                y->columns, *(const PoolAttr *)c->attr);
    return cuda_launched(s, "pool");
}

static __global__ void pool_grad_kernel(const float *dy, float *dx, int64_t count, int64_t n, PoolAttr attr, bool add)
{
    int64_t at = thread_number();
    if (at >= count)
        return;
    int64_t t = at / n % attr.tokens, row = at / n / attr.tokens;
    bool inside = t >= attr.first && t < attr.first + attr.count;
    float value = inside ? dy[row * n + at % n] / (float)attr.count : 0.0f;
    dx[at] = add ? dx[at] + value : value;
}

extern "C" bool CUDA(pool_grad)(const Call *c, CudaStream *s)
{
    const Tensor *dx = &c->out[0];
    cuda_launch(s, pool_grad_kernel, blocks_of(count_of(dx), BLOCK), dim3(BLOCK), 0, data_of(&c->in[0]), data_of(dx),
                count_of(dx), dx->columns, *(const PoolAttr *)c->attr, call_accumulates(c, 0));
    return cuda_launched(s, "pool_grad");
}
