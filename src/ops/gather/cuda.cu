#include "ops/cuda.cuh"
#include "ops/gather/work.h"

/* ---- y */

typedef struct {
    int64_t rows, n, period; /* period: rows of the table */
    const int32_t *index, *place;
    const void *x, *tokens;
    const float *table;
} Gather;

template <int N, class T> static __global__ void gather_kernel(Gather g, T *y)
{
    int64_t at = thread_number() * N;
    if (at >= g.rows * g.n)
        return;
    int64_t row = at / g.n, i = at - row * g.n, source = g.index ? g.index[row] : row;
    const T *from =
        source >= 0 ? static_cast<const T *>(g.x) + source * g.n : static_cast<const T *>(g.tokens) + (-1 - source) * g.n;
    Floats<N> v = pack_load<N>(from + i);
    if (g.table) {
        Floats<N> more = pack_load<N>(g.table + (g.place ? g.place[row] : row % g.period) * g.n + i);
        for (int k = 0; k < N; k++)
            v.at[k] += more.at[k];
    }
    pack_store<N>(y + at, v);
}

extern "C" bool CUDA(gather)(const Call *c, CudaStream *s)
{
    const Tensor *y = &c->out[0];
    Gather g = {.rows = y->rows,
                .n = y->columns,
                .period = c->in[3].rows,
                .index = data_of<int32_t>(&c->in[1]),
                .place = data_of<int32_t>(&c->in[4]),
                .x = c->in[0].data,
                .tokens = c->in[2].data,
                .table = data_of(&c->in[3])};
    with_pack(packs_fit(g.n, data_of(&c->in[0]), data_of(&c->in[2]), g.table, data_of(y)), [&](auto n) {
        with_type(y->dtype, [&](auto t) {
            typedef decltype(t) T;
            cuda_launch(s, gather_kernel<n.value, T>, blocks_of(g.rows * g.n, BLOCK * n.value), dim3(BLOCK), 0, g,
                        data_of<T>(y));
        });
    });
    return cuda_launched(s, "gather");
}

/* ---- gradient; in: dy, index, inverse, place; out: dx, dtokens, dtable */

template <int N, class T>
static __global__ void rows_of_x_kernel(const T *dy, const int32_t *inverse, T *dx, int64_t rows, int64_t n, bool add)
{
    int64_t at = thread_number() * N;
    if (at >= rows * n)
        return;
    int64_t row = at / n, i = at - row * n, source = inverse ? inverse[row] : row;
    Floats<N> v = {};
    if (source >= 0)
        v = pack_load<N>(dy + source * n + i);
    pack_put<N>(dx + at, v, add);
}

/* Which sum a row of dy goes to: that of its token, or of its place in the table. Negative: none. */
typedef struct {
    const int32_t *index, *place;
    int64_t period;
    bool tokens;
} RowKey;

static __device__ inline int64_t row_key(const RowKey &k, int64_t row)
{
    return k.tokens ? -1 - (int64_t)k.index[row] : k.place ? k.place[row] : row % k.period;
}

/* Block (key, columns, span of rows): the sum of the rows of that span which have the key. BLOCK rows at a time are looked at,
 * and those that count put in a list in their order. */
template <class T>
static __global__ void keyed_sum_kernel(const T *dy, RowKey which, int64_t rows, int64_t n, int64_t step, float *partial)
{
    SHARED(int64_t, list, BLOCK);
    SHARED(unsigned, found, WARPS);
    int64_t key = blockIdx.x, column = (int64_t)blockIdx.y * BLOCK + threadIdx.x, first = blockIdx.z * step,
            end = first + step < rows ? first + step : rows;
    unsigned warp = threadIdx.x / WARP, before = (1u << lane_number()) - 1;
    float sum = 0;
    for (; first < end; first += BLOCK) {
        int64_t row = first + threadIdx.x;
        unsigned mine = __ballot_sync(0xffffffffu, row < end && row_key(which, row) == key);
        if (lane_number() == 0)
            found[warp] = mine;
        __syncthreads();
        int count = 0, at = 0;
        for (unsigned w = 0; w < WARPS; w++) {
            at += w < warp ? bits_set(found[w]) : 0;
            count += bits_set(found[w]);
        }
        if (mine >> lane_number() & 1)
            list[at + bits_set(mine & before)] = row;
        __syncthreads();
        if (column < n)
            for (int i = 0; i < count; i++)
                sum += to_float(dy[list[i] * n + column]);
        __syncthreads(); /* before the lists are written anew */
    }
    if (column < n)
        partial[((int64_t)blockIdx.z * gridDim.x + key) * n + column] = sum;
}

template <class T, class To>
static void keyed_sum(CudaStream *s, const Tensor *dy, const RowKey &which, const Tensor *to, float *partial, bool add)
{
    int64_t spans = gather_cuda_spans(dy->rows, to->rows), n = dy->columns;
    dim3 grid((unsigned)to->rows, (unsigned)pieces(n, BLOCK), (unsigned)spans);
    cuda_launch(s, keyed_sum_kernel<T>, grid, dim3(BLOCK), 0, data_of<T>(dy), which, dy->rows, n, pieces(dy->rows, spans),
                partial);
    partials_add(s, partial, spans, to->rows * n, to->rows * n, data_of<To>(to), add);
}

template <class T> static void gather_grad_of(const Call *c, CudaStream *s)
{
    const Tensor *dy = &c->in[0], *dx = &c->out[0], *dtokens = &c->out[1], *dtable = &c->out[2];
    const int32_t *index = data_of<int32_t>(&c->in[1]), *inverse = data_of<int32_t>(&c->in[2]),
                  *place = data_of<int32_t>(&c->in[3]);
    float *partial = static_cast<float *>(c->work);
    if (dx->data)
        with_pack(packs_fit(dx->columns, data_of(dy), data_of(dx)), [&](auto n) {
            cuda_launch(s, rows_of_x_kernel<n.value, T>, blocks_of(count_of(dx), BLOCK * n.value), dim3(BLOCK), 0,
                        data_of<T>(dy), inverse, data_of<T>(dx), dx->rows, dx->columns, call_accumulates(c, 0));
        });
    if (dtokens->data)
        keyed_sum<T, T>(s, dy, RowKey{index, NULL, 1, true}, dtokens, partial, call_accumulates(c, 1));
    if (dtable->data)
        keyed_sum<T, float>(s, dy, RowKey{NULL, place, dtable->rows, false}, dtable, partial, call_accumulates(c, 2));
}

extern "C" bool CUDA(gather_grad)(const Call *c, CudaStream *s)
{
    with_type(c->in[0].dtype, [&](auto t) { gather_grad_of<decltype(t)>(c, s); });
    return cuda_launched(s, "gather_grad");
}
