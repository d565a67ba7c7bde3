#include "ops/cuda.cuh"
#include "ops/relative_bias/attr.h"

static __global__ void relative_bias_kernel(const float *table, float *bias, int64_t heads, int64_t tokens,
                                            RelativeBiasAttr attr)
{
    int64_t at = thread_number();
    if (at >= heads * tokens * tokens)
        return;
    int64_t h = at / (tokens * tokens), i = at / tokens % tokens, j = at % tokens;
    bias[at] = table[relative_bias_row(&attr, i, j) * heads + h];
}

extern "C" bool CUDA(relative_bias)(const Call *c, CudaStream *s)
{
    cuda_launch(s, relative_bias_kernel, blocks_of(count_of(&c->out[0]), BLOCK), dim3(BLOCK), 0, data_of(&c->in[0]),
                data_of(&c->out[0]), c->in[0].columns, c->out[0].columns, *(const RelativeBiasAttr *)c->attr);
    return cuda_launched(s, "relative_bias");
}

/* The keys that row r of the table is for, with a query: `count` from `first` on, which lie side by side. */
static __device__ inline int64_t keys_of(const RelativeBiasAttr &a, int64_t r, int64_t query, int64_t *first)
{
    int64_t across = 2 * a.columns - 1, offsets = (2 * a.rows - 1) * across, patch = query - a.class_tokens;
    if (r >= offsets) { /* class to patch, patch to class, class to class */
        *first = r == offsets ? a.class_tokens : 0;
        bool from_class = r != offsets + 1;
        return (patch < 0) != from_class ? 0 : r == offsets ? (int64_t)a.rows * a.columns : a.class_tokens;
    }
    int64_t y = patch / a.columns - (r / across - a.rows + 1), x = patch % a.columns - (r % across - a.columns + 1);
    *first = a.class_tokens + y * a.columns + x;
    return patch >= 0 && y >= 0 && y < a.rows && x >= 0 && x < a.columns;
}

/* A warp a number of the table, a lane some queries. */
static __global__ void relative_bias_grad_kernel(const float *dbias, float *dtable, int64_t rows, int64_t heads, int64_t tokens,
                                                 RelativeBiasAttr attr, bool add)
{
    int64_t at = warp_number();
    if (at >= rows * heads)
        return;
    int64_t r = at / heads, h = at % heads, first;
    float sum = 0;
    for (int64_t i = lane_number(); i < tokens; i += WARP) {
        int64_t count = keys_of(attr, r, i, &first);
        for (int64_t j = first; j < first + count; j++)
            sum += dbias[(h * tokens + i) * tokens + j];
    }
    sum = warp_sum(sum);
    if (lane_number() == 0)
        dtable[at] = add ? dtable[at] + sum : sum;
}

extern "C" bool CUDA(relative_bias_grad)(const Call *c, CudaStream *s)
{
    const Tensor *dtable = &c->out[0];
    cuda_launch(s, relative_bias_grad_kernel, blocks_of(count_of(dtable), WARPS), dim3(BLOCK), 0, data_of(&c->in[0]),
                data_of(dtable), dtable->rows, dtable->columns, c->in[0].columns, *(const RelativeBiasAttr *)c->attr,
                call_accumulates(c, 0));
    return cuda_launched(s, "relative_bias_grad");
}
