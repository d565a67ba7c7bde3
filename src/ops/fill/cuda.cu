#include "ops/cuda.cuh"
#include "ops/fill/attr.h"

static __global__ void fill_kernel(float *y, int64_t count, float value)
{
    int64_t i = thread_number();
    if (i < count)
        y[i] = value;
}

extern "C" bool CUDA(fill)(const Call *c, CudaStream *s)
{
    int64_t count = count_of(&c->out[0]);
    cuda_launch(s, fill_kernel, blocks_of(count, BLOCK), dim3(BLOCK), 0, data_of(&c->out[0]), count,
                (float)((const FillAttr *)c->attr)->value);
    return cuda_launched(s, "fill");
}
