#include "ops/layer_norm/cuda.cuh"

#include "ops/layer_norm/layer_norm.h"

extern "C" bool CUDA(layer_norm)(const Call *c, CudaStream *s)
{
    const float *x = data_of(&c->in[0]), *gamma = data_of(&c->in[1]), *beta = data_of(&c->in[2]);
    float *y = data_of(&c->out[0]);
    int64_t rows = c->in[0].rows, n = c->in[0].columns;
    with_pack(packs_fit(n, x, gamma, beta, y), [&](auto p) {
        cuda_launch(s, layer_norm_kernel<p.value, float, float>, blocks_of(rows, WARPS), dim3(BLOCK), 0, x, gamma, beta, y,
                    data_of(&c->out[1]), rows, n, (float)((const LayerNormAttr *)c->attr)->eps);
    });
    return cuda_launched(s, "layer_norm");
}

extern "C" bool CUDA(layer_norm_grad)(const Call *c, CudaStream *s)
{
    LayerNormGrad g = {.rows = c->in[0].rows,
                       .n = c->in[0].columns,
                       .dy = data_of(&c->in[0]),
                       .stats = data_of(&c->in[2]),
                       .gamma = data_of(&c->in[3]),
                       .x = c->in[1].data,
                       .dx = c->out[0].data,
                       .dgamma = data_of(&c->out[1]),
                       .dbeta = data_of(&c->out[2]),
                       .add_dx = call_accumulates(c, 0),
                       .add_dgamma = call_accumulates(c, 1),
                       .add_dbeta = call_accumulates(c, 2),
                       .partial = static_cast<float *>(c->work)};
    layer_norm_grad_launch(s, g, DTYPE_REAL);
    return cuda_launched(s, "layer_norm_grad");
}
