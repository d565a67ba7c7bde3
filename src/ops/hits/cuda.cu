/* A warp a row, then one block for the sum. */
#include "ops/cuda.cuh"

static __global__ void hits_kernel(const float *logits, const int32_t *labels, float *hit, int64_t rows, int64_t n)
{
    int64_t row = warp_number();
    if (row >= rows)
        return;
    const float *z = logits + row * n;
    int32_t label = labels[row];
    int better = label < 0;
    for (int64_t i = lane_number(); label >= 0 && i < n; i += WARP)
        better += !(z[i] < z[label] || (z[i] == z[label] && i >= label));
    better = warp_sum(better);
    if (lane_number() == 0)
        hit[row] = better ? 0.0f : 1.0f;
}

static __global__ void hits_end_kernel(const float *hit, int64_t rows, const float *scale, float *share)
{
    double count = 0;
    for (int64_t row = threadIdx.x; row < rows; row += BLOCK)
        count += (double)hit[row];
    count = block_sum(count);
    if (threadIdx.x == 0)
        *share = (float)(count * (double)*scale);
}

extern "C" bool CUDA(hits)(const Call *c, CudaStream *s)
{
    int64_t rows = c->in[0].rows, n = c->in[0].columns;
    float *hit = static_cast<float *>(c->work);
    cuda_launch(s, hits_kernel, blocks_of(rows, WARPS), dim3(BLOCK), 0, data_of(&c->in[0]), data_of<int32_t>(&c->in[1]), hit,
                rows, n);
    cuda_launch(s, hits_end_kernel, dim3(1), dim3(BLOCK), 0, hit, rows, data_of(&c->in[2]), data_of(&c->out[0]));
    return cuda_launched(s, "hits");
}
