#include "ops/cuda.cuh"

/* bias = [q, 0, v], or [0, v] without q. */
static __global__ void key_free_bias_kernel(const float *q, const float *v, float *bias, int64_t n)
{
    int64_t i = thread_number(), keys = q ? n : 0;
    if (i >= keys + 2 * n)
        return;
    bias[i] = i < keys ? q[i] : i < keys + n ? 0.0f : v[i - keys - n];
}

extern "C" bool CUDA(key_free_bias)(const Call *c, CudaStream *s)
{
    cuda_launch(s, key_free_bias_kernel, blocks_of(count_of(&c->out[0]), BLOCK), dim3(BLOCK), 0, data_of(&c->in[0]),
                data_of(&c->in[1]), data_of(&c->out[0]), c->in[1].columns);
    return cuda_launched(s, "key_free_bias");
}

static __global__ void key_free_bias_grad_kernel(const float *part, float *to, int64_t n, bool add)
{
    int64_t i = thread_number();
    if (i < n)
        to[i] = add ? to[i] + part[i] : part[i];
}

extern "C" bool CUDA(key_free_bias_grad)(const Call *c, CudaStream *s)
{
    int64_t n = c->in[1].columns;
    const float *dbias = data_of(&c->in[0]);
    for (int part = 0; part < 2; part++)
        if (c->out[part].data)
            cuda_launch(s, key_free_bias_grad_kernel, blocks_of(n, BLOCK), dim3(BLOCK), 0,
                        part ? dbias + c->in[0].columns - n : dbias, data_of(&c->out[part]), n, call_accumulates(c, part));
    return cuda_launched(s, "key_free_bias_grad");
}
