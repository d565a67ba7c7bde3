/* What the plain kernels of attention and those for tensor cores share: the heads as the kernels see them. */
#ifndef LACUNA_OPS_ATTENTION_CUDA_CUH
#define LACUNA_OPS_ATTENTION_CUDA_CUH

#include "ops/attention/slots.h"
#include "ops/cuda.cuh"

/* Row t of group g of x begins at x + (g T + t) stride; head h has the columns h d .. h d + d - 1 from there. */
typedef struct {
    int64_t q_stride, kv_stride; /* of q and dq, of kv and dkv; o and do have heads d columns */
    int heads, queries, keys, d;
    int64_t groups;
    float scale;
    const void *q, *k, *v; /* at their first column */
    const void *o, *dout;  /* read by the gradient */
    const float *bias;     /* (heads, Tq, Tk) added to the logits, or NULL */
    float *lse;            /* (G, heads, Tq) */
    void *out;             /* o of the forward pass */
    void *dq, *dk, *dv;    /* NULL: not wanted */
    float *dbias;          /* likewise */
    bool add_q, add_kv, add_bias;
} Heads;

/* Which head of which group a block works on, and which of its pieces. */
typedef struct {
    int64_t group, unit; /* unit = group heads + head */
    int head, piece;
} HeadPlace;

static __device__ inline HeadPlace head_place(const Heads &a, int pieces_of_head)
{
    HeadPlace p;
    p.piece = (int)(blockIdx.x % (unsigned)pieces_of_head);
    p.unit = blockIdx.x / (unsigned)pieces_of_head;
    p.group = p.unit / a.heads;
    p.head = (int)(p.unit % a.heads);
    return p;
}

/* The first number of row 0 of a head. */
template <class T> __device__ inline T *head_of(const Heads &a, const HeadPlace &p, T *x, int rows, int64_t stride)
{
    return x + p.group * rows * stride + (int64_t)p.head * a.d;
}

template <class T>
__device__ inline const T *head_of_const(const Heads &a, const HeadPlace &p, const void *x, int rows, int64_t stride)
{
    return head_of(a, p, static_cast<const T *>(x), rows, stride);
}

/* What is added to the logit of a query and a key. */
static __device__ inline float bias_at(const Heads &a, int head, int query, int key)
{
    return a.bias && query < a.queries && key < a.keys ? a.bias[((int64_t)head * a.queries + query) * a.keys + key] : 0.0f;
}

/* Whether the kernels for tensor cores can take these heads, and their launches (cuda_tensor.cu). */
bool attention_fits_tensor(const Heads &a, DType type);
void attention_tensor(CudaStream *s, const Heads &a);
void attention_grad_tensor(CudaStream *s, const Heads &a, const float *both);

#endif
