/* A warp a row: each lane looks at every 32nd number, then neighbours compare. */
#include "ops/cuda.cuh"

static __global__ void argmax_kernel(const float *x, const float *weight, int64_t rows, int64_t n, int32_t *column)
{
    int64_t row = warp_number();
    if (row >= rows)
        return;
    float most = -INFINITY;
    int best = INT32_MAX;
    for (int64_t i = lane_number(); i < n; i += WARP) {
        float here = x[row * n + i];
        if (here > most || best == INT32_MAX || most != most) {
            most = here;
            best = (int)i;
        }
    }
    for (int step = WARP / 2; step; step /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, most, step);
        int at = __shfl_xor_sync(0xffffffffu, best, step);
        if (other > most || (other == most && at < best) || (most != most && other == other)) {
            most = other;
            best = at;
        }
    }
    if (lane_number() == 0)
        column[row] = weight && weight[row] == 0 ? -1 : x[row * n] != x[row * n] ? 0 : best;
}

extern "C" bool CUDA(argmax)(const Call *c, CudaStream *s)
{
    cuda_launch(s, argmax_kernel, blocks_of(c->in[0].rows, WARPS), dim3(BLOCK), 0, data_of(&c->in[0]), data_of(&c->in[1]),
                c->in[0].rows, c->in[0].columns, data_of<int32_t>(&c->out[0]));
    return cuda_launched(s, "argmax");
}
