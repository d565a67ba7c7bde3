#include "ops/cuda.cuh"
#include "ops/weighted_sum/attr.h"

static __global__ void weighted_sum_kernel(const float *terms, float *to, WeightedSumAttr attr)
{
    double sum = 0;
    for (int i = 0; i < attr.count; i++)
        sum += attr.weights[i] * (double)terms[i];
    *to = (float)sum;
}

extern "C" bool CUDA(weighted_sum)(const Call *c, CudaStream *s)
{
    cuda_launch(s, weighted_sum_kernel, dim3(1), dim3(1), 0, data_of(&c->in[0]), data_of(&c->out[0]),
                *(const WeightedSumAttr *)c->attr);
    return cuda_launched(s, "weighted_sum");
}
