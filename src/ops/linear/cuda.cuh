/* What linear and its gradients share on a GPU: operands made in the type that is multiplied, and the call of the product. */
#ifndef LACUNA_OPS_LINEAR_CUDA_CUH
#define LACUNA_OPS_LINEAR_CUDA_CUH

#include "ops/activation/cuda.cuh"
#include "ops/layer_norm/cuda.cuh"
#include "ops/linear/cuda_work.h"

static inline void *linear_part(const Call *c, const LinearPart &part)
{
    return part.needs ? static_cast<char *>(c->work) + part.at : NULL;
}

/* to = activation(x) in another type. */
template <int N, class From, class To>
static __global__ void prepare_kernel(const From *x, To *to, int64_t count, Activation kind)
{
    int64_t i = thread_number() * N;
    if (i >= count)
        return;
    Floats<N> v = pack_load<N>(x + i);
    for (int k = 0; k < N; k++)
        v.at[k] = activation_value(v.at[k], kind);
    pack_store<N>(to + i, v);
}

template <class From, class To>
static inline void prepare_launch(CudaStream *s, const From *x, To *to, int64_t count, Activation kind)
{
    with_pack(packs_fit(count, x, to), [&](auto n) {
        cuda_launch(s, prepare_kernel<n.value, From, To>, blocks_of(count, BLOCK * n.value), dim3(BLOCK), 0, x, to, count,
                    kind);
    });
}

/* Weights, or a bias, as an operand: themselves, or in bf16 in their part of the workspace. */
static inline const void *linear_rounded(const Call *c, CudaStream *s, const Tensor *t, const LinearPart &part)
{
    if (!part.needs)
        return t->data;
    Bf16 *to = static_cast<Bf16 *>(linear_part(c, part));
    prepare_launch(s, data_of(t), to, count_of(t), ACTIVATION_NONE);
    return to;
}

typedef struct {
    const Tensor *x;
    const float *gamma, *beta;
    float *stats;
    bool stats_known; /* else they are computed and written */
} LinearInput;

template <class From, class To>
static inline void prologue_launch(CudaStream *s, const LinearInput &in, To *to, const LinearAttr *attr)
{
    const From *x = data_of<From>(in.x);
    int64_t rows = in.x->rows, k = in.x->columns;
    if (attr->prologue != PROLOGUE_LAYER_NORM) {
        prepare_launch(s, x, to, rows * k, prologue_activation(attr->prologue));
        return;
    }
    with_pack(packs_fit(k, x, in.gamma, in.beta, to), [&](auto n) {
        if (in.stats_known)
            cuda_launch(s, layer_norm_again_kernel<n.value, From, To>, blocks_of(rows * k, BLOCK * n.value), dim3(BLOCK), 0, x,
                        in.gamma, in.beta, to, in.stats, rows, k);
        else
            cuda_launch(s, layer_norm_kernel<n.value, From, To>, blocks_of(rows, WARPS), dim3(BLOCK), 0, x, in.gamma, in.beta,
                        to, in.stats, rows, k, (float)attr->eps);
    });
}

/* prologue(x) as an operand: x itself, or its part of the workspace. */
static inline const void *linear_prepared(const Call *c, CudaStream *s, const LinearInput &in, const LinearPart &part)
{
    if (!part.needs)
        return in.x->data;
    void *to = linear_part(c, part);
    with_type(in.x->dtype, [&](auto from) {
        with_type(linear_operand_type(c), [&](auto t) {
            prologue_launch<decltype(from)>(s, in, static_cast<decltype(t) *>(to), (const LinearAttr *)c->attr);
        });
    });
    return to;
}

/* dy on its way into a product. */
typedef struct {
    int64_t rows, n, per_group;
    const void *dy;
    const float *column, *row; /* scales, or NULL */
    void *to;                  /* NULL: only the sums are wanted */
    float *partials;           /* column sums of each LINEAR_CUDA_TILE rows, or NULL */
} LinearGradient;

enum { GRADIENT_BLOCK = 64 };

template <int N, class From, class To> static __global__ void gradient_kernel(LinearGradient g)
{
    int64_t column = ((int64_t)blockIdx.y * GRADIENT_BLOCK + threadIdx.x) * N, first = (int64_t)blockIdx.x * LINEAR_CUDA_TILE,
            end = first + LINEAR_CUDA_TILE < g.rows ? first + LINEAR_CUDA_TILE : g.rows;
    if (column >= g.n)
        return;
    Floats<N> sum = {};
    for (int64_t row = first; row < end; row++) {
        Floats<N> v = pack_load<N>(static_cast<const From *>(g.dy) + row * g.n + column);
        float factor = g.row ? g.row[row / g.per_group] : 1.0f;
        for (int k = 0; k < N; k++) {
            v.at[k] *= g.column ? factor * g.column[column + k] : factor;
            sum.at[k] += v.at[k];
        }
        if (g.to)
            pack_store<N>(static_cast<To *>(g.to) + row * g.n + column, v);
    }
    if (g.partials)
        pack_store<N>(g.partials + blockIdx.x * g.n + column, sum);
}

static inline void gradient_launch(CudaStream *s, const LinearGradient &g, DType from, DType to)
{
    with_pack(packs_fit(g.n, static_cast<const float *>(g.dy), static_cast<float *>(g.to), g.partials), [&](auto n) {
        with_type(from, [&](auto f) {
            with_type(to, [&](auto t) {
                dim3 grid((unsigned)pieces(g.rows, LINEAR_CUDA_TILE), (unsigned)pieces(g.n, GRADIENT_BLOCK * n.value));
                cuda_launch(s, gradient_kernel<n.value, decltype(f), decltype(t)>, grid, dim3(GRADIENT_BLOCK), 0, g);
            });
        });
    });
}

/* A product whose operands are of the call's type and without gaps; the caller sets what is beside that. */
static inline CudaProduct linear_product(const Call *c, const LinearRoom &room, int64_t rows, int64_t columns, int64_t inner)
{
    CudaProduct p = {};
    p.rows = rows;
    p.columns = columns;
    p.inner = inner;
    p.c_stride = columns;
    p.type = linear_operand_type(c);
    p.c_type = DTYPE_REAL;
    p.work = linear_part(c, room.product);
    p.work_bytes = CUDA_PRODUCT_WORK;
    return p;
}

#endif
