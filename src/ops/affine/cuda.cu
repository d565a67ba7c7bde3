#include "ops/affine/work.h"
#include "ops/cuda.cuh"

template <int N>
static __global__ void affine_relu_kernel(const float *x, const float *gamma, const float *beta, float *y, int64_t rows,
                                          int64_t n)
{
    int64_t at = thread_number() * N;
    if (at >= rows * n)
        return;
    Floats<N> v = pack_load<N>(x + at), g = pack_load<N>(gamma + at % n), b = pack_load<N>(beta + at % n);
    for (int k = 0; k < N; k++) {
        v.at[k] = g.at[k] * v.at[k] + b.at[k];
        v.at[k] = v.at[k] <= 0 ? 0.0f : v.at[k]; /* what is no number stays none */
    }
    pack_store<N>(y + at, v);
}

extern "C" bool CUDA(affine_relu)(const Call *c, CudaStream *s)
{
    const float *x = data_of(&c->in[0]), *gamma = data_of(&c->in[1]), *beta = data_of(&c->in[2]);
    float *y = data_of(&c->out[0]);
    int64_t rows = c->in[0].rows, n = c->in[0].columns;
    with_pack(packs_fit(n, x, gamma, beta, y), [&](auto p) {
        cuda_launch(s, affine_relu_kernel<p.value>, blocks_of(rows * n, BLOCK * p.value), dim3(BLOCK), 0, x, gamma, beta, y,
                    rows, n);
    });
    return cuda_launched(s, "affine_relu");
}

typedef struct {
    int64_t rows, n;
    const float *dy, *x, *gamma, *beta;
    float *dx, *partial; /* dx may be dy; either may be NULL */
    bool add;
} AffineGrad;

/* A block a tile of AFFINE_TILE rows: each thread goes down columns of its own. */
static __global__ void affine_relu_grad_kernel(AffineGrad a)
{
    int64_t first = (int64_t)blockIdx.x * AFFINE_TILE, end = first + AFFINE_TILE < a.rows ? first + AFFINE_TILE : a.rows;
    for (int64_t i = threadIdx.x; i < a.n; i += BLOCK) {
        float product = 0, sum = 0;
        for (int64_t at = first * a.n + i; at < end * a.n; at += a.n) {
            float d = a.gamma[i] * a.x[at] + a.beta[i] <= 0 ? 0.0f : a.dy[at];
            product += d * a.x[at];
            sum += d;
            if (a.dx)
                a.dx[at] = a.add ? a.dx[at] + d * a.gamma[i] : d * a.gamma[i];
        }
        if (a.partial) {
            a.partial[(int64_t)blockIdx.x * 2 * a.n + i] = product;
            a.partial[((int64_t)blockIdx.x * 2 + 1) * a.n + i] = sum;
        }
    }
}

extern "C" bool CUDA(affine_relu_grad)(const Call *c, CudaStream *s)
{
    float *dgamma = data_of(&c->out[1]), *dbeta = data_of(&c->out[2]);
    AffineGrad a = {.rows = c->in[1].rows,
                    .n = c->in[1].columns,
                    .dy = data_of(&c->in[0]),
                    .x = data_of(&c->in[1]),
                    .gamma = data_of(&c->in[2]),
                    .beta = data_of(&c->in[3]),
                    .dx = data_of(&c->out[0]),
                    .partial = dgamma || dbeta ? static_cast<float *>(c->work) : NULL,
                    .add = call_accumulates(c, 0)};
    int64_t tiles = pieces(a.rows, AFFINE_TILE);
    cuda_launch(s, affine_relu_grad_kernel, dim3((unsigned)tiles), dim3(BLOCK), 0, a);
    if (dgamma)
        partials_add(s, a.partial, tiles, 2 * a.n, a.n, dgamma, call_accumulates(c, 1));
    if (dbeta)
        partials_add(s, a.partial + a.n, tiles, 2 * a.n, a.n, dbeta, call_accumulates(c, 2));
    return cuda_launched(s, "affine_relu_grad");
}
