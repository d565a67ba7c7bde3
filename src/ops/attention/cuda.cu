/* Attention in plain f32 arithmetic, of any head width: a warp takes some rows, a lane a column of the map. Rows that meet are
 * brought into shared memory a tile at a time; the softmax is kept up to date on the way, so the map is never whole. bf16 of
 * the usual widths goes to tensor cores instead. */
#include "ops/attention/cuda.cuh"

extern "C" {
#include "base/error.h"
}

enum { ROWS = 32, OWN = ROWS / WARPS /* rows of a warp */, TILE = WARP };

/* Numbers from one row of a tile to the next: odd, so that lanes that read a column each meet different banks. */
static __host__ __device__ inline int tile_stride(int d)
{
    return d | 1;
}

/* Rows first.. of x into shared memory, zeros behind the last. */
template <class T>
static __device__ inline void rows_load(float *to, int to_stride, const T *x, int64_t stride, int first, int rows, int count,
                                        int d)
{
    for (int i = (int)threadIdx.x; i < count * d; i += BLOCK) {
        int row = i / d, column = i - row * d;
        to[row * to_stride + column] = first + row < rows ? to_float(x[(first + row) * stride + column]) : 0.0f;
    }
}

template <class T> static __device__ inline void row_store(T *to, const float *from, int d, float factor, bool add)
{
    for (int x = lane_number(); x < d; x += WARP)
        pack_put<1>(to + x, Floats<1>{{from[x] * factor}}, add);
}

static __device__ inline float dot(const float *a, const float *b, int d)
{
    float sum = 0;
    for (int x = 0; x < d; x++)
        sum += a[x] * b[x];
    return sum;
}

/* to = to keep + the sum of weights[j] tile[j] */
static __device__ inline void rows_add(float *to, const float *weights, const float *tile, int d, float keep)
{
    for (int x = lane_number(); x < d; x += WARP) {
        float sum = to[x] * keep;
        for (int j = 0; j < TILE; j++)
            sum += weights[j] * tile[j * tile_stride(d) + x];
        to[x] = sum;
    }
}

static __device__ inline float warp_max(float x)
{
    for (int step = WARP / 2; step; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

static __host__ __device__ inline int pieces_of(int rows, int step)
{
    return (rows + step - 1) / step;
}

/* ---- forward: a block takes ROWS queries of a head */

static size_t forward_bytes(int d)
{
    return sizeof(float) * (size_t)(2 * TILE * tile_stride(d) + 2 * ROWS * d + WARPS * WARP);
}

template <class T> static __global__ void __launch_bounds__(BLOCK) attention_kernel(Heads a)
{
    SHARED_DYNAMIC(float, shared);
    int d = a.d, stride = tile_stride(d), warp = (int)threadIdx.x / WARP, lane = lane_number();
    float *keys = shared, *values = keys + TILE * stride, *queries = values + TILE * stride, *out = queries + ROWS * d,
          *weights = out + ROWS * d + warp * WARP;
    HeadPlace p = head_place(a, pieces_of(a.queries, ROWS));
    int first = p.piece * ROWS;
    const T *q = head_of_const<T>(a, p, a.q, a.queries, a.q_stride), *k = head_of_const<T>(a, p, a.k, a.keys, a.kv_stride),
            *v = head_of_const<T>(a, p, a.v, a.keys, a.kv_stride);
    float largest[OWN], sum[OWN];
    for (int r = 0; r < OWN; r++) {
        largest[r] = -INFINITY;
        sum[r] = 0;
    }
    rows_load(queries, d, q, a.q_stride, first, a.queries, ROWS, d);
    for (int i = (int)threadIdx.x; i < ROWS * d; i += BLOCK)
        out[i] = 0;
    for (int key = 0; key < a.keys; key += TILE) {
        __syncthreads(); /* the tile before has been read */
        rows_load(keys, stride, k, a.kv_stride, key, a.keys, TILE, d);
        rows_load(values, stride, v, a.kv_stride, key, a.keys, TILE, d);
        __syncthreads();
        for (int r = 0; r < OWN; r++) {
            int row = warp * OWN + r;
            float logit = key + lane < a.keys ? a.scale * dot(queries + row * d, keys + lane * stride, d) +
                                                    bias_at(a, p.head, first + row, key + lane)
                                              : -INFINITY;
            float most = fmaxf(largest[r], warp_max(logit)), keep = expf(largest[r] - most), weight = expf(logit - most);
            largest[r] = most;
            sum[r] = sum[r] * keep + warp_sum(weight);
            weights[lane] = weight;
            __syncwarp();
            rows_add(out + row * d, weights, values, d, keep);
            __syncwarp();
        }
    }
    T *o = head_of(a, p, static_cast<T *>(a.out), a.queries, (int64_t)a.heads * d);
    for (int r = 0; r < OWN; r++) {
        int row = warp * OWN + r;
        if (first + row >= a.queries)
            continue;
        row_store(o + (int64_t)(first + row) * a.heads * d, out + row * d, d, 1.0f / sum[r], false);
        if (lane == 0)
            a.lse[p.unit * a.queries + first + row] = largest[r] + logf(sum[r]);
    }
}

/* ---- backward. P = exp(scale q k - lse), dP_ij = do_i . v_j, dS_ij = scale P_ij (dP_ij - do_i . o_i); dq = dS k, dk = dS^T q,
 * dv = P^T do */

static size_t grad_bytes(int d)
{
    return sizeof(float) * (size_t)(2 * TILE * tile_stride(d) + 4 * ROWS * d + 2 * WARPS * WARP);
}

/* both[unit Tq + i] = do_i . o_i, a warp a number. */
template <class T> static __global__ void both_kernel(Heads a, float *both)
{
    int64_t at = warp_number();
    if (at >= a.groups * a.heads * a.queries)
        return;
    int64_t unit = at / a.queries, i = at % a.queries, group = unit / a.heads, head = unit % a.heads;
    int64_t from = ((group * a.queries + i) * a.heads + head) * a.d;
    float sum = 0;
    for (int x = lane_number(); x < a.d; x += WARP)
        sum += to_float(static_cast<const T *>(a.dout)[from + x]) * to_float(static_cast<const T *>(a.o)[from + x]);
    sum = warp_sum(sum);
    if (lane_number() == 0)
        both[at] = sum;
}

/* A block takes ROWS queries. */
template <class T> static __global__ void __launch_bounds__(BLOCK) attention_dq_kernel(Heads a, const float *both)
{
    SHARED_DYNAMIC(float, shared);
    int d = a.d, stride = tile_stride(d), warp = (int)threadIdx.x / WARP, lane = lane_number();
    float *keys = shared, *values = keys + TILE * stride, *queries = values + TILE * stride, *douts = queries + ROWS * d,
          *sums = douts + ROWS * d, *weights = sums + ROWS * d + warp * WARP;
    HeadPlace p = head_place(a, pieces_of(a.queries, ROWS));
    int first = p.piece * ROWS;
    int64_t wide = (int64_t)a.heads * d;
    const T *k = head_of_const<T>(a, p, a.k, a.keys, a.kv_stride), *v = head_of_const<T>(a, p, a.v, a.keys, a.kv_stride);
    rows_load(queries, d, head_of_const<T>(a, p, a.q, a.queries, a.q_stride), a.q_stride, first, a.queries, ROWS, d);
    rows_load(douts, d, head_of_const<T>(a, p, a.dout, a.queries, wide), wide, first, a.queries, ROWS, d);
    for (int i = (int)threadIdx.x; i < ROWS * d; i += BLOCK)
        sums[i] = 0;
    for (int key = 0; key < a.keys; key += TILE) {
        __syncthreads();
        rows_load(keys, stride, k, a.kv_stride, key, a.keys, TILE, d);
        rows_load(values, stride, v, a.kv_stride, key, a.keys, TILE, d);
        __syncthreads();
        for (int r = 0; r < OWN && first + warp * OWN + r < a.queries; r++) {
            int row = warp * OWN + r;
            int64_t at = p.unit * a.queries + first + row;
            float weight = 0;
            if (key + lane < a.keys)
                weight = a.scale *
                         expf(a.scale * dot(queries + row * d, keys + lane * stride, d) +
                              bias_at(a, p.head, first + row, key + lane) - a.lse[at]) *
                         (dot(douts + row * d, values + lane * stride, d) - both[at]);
            weights[lane] = weight;
            __syncwarp();
            rows_add(sums + row * d, weights, keys, d, 1.0f);
            __syncwarp();
        }
    }
    T *dq = head_of(a, p, static_cast<T *>(a.dq), a.queries, a.q_stride);
    for (int r = 0; r < OWN && first + warp * OWN + r < a.queries; r++)
        row_store(dq + (first + warp * OWN + r) * a.q_stride, sums + (warp * OWN + r) * d, d, 1.0f, a.add_q);
}

/* A block takes ROWS keys. */
template <class T> static __global__ void __launch_bounds__(BLOCK) attention_dkv_kernel(Heads a, const float *both)
{
    SHARED_DYNAMIC(float, shared);
    int d = a.d, stride = tile_stride(d), warp = (int)threadIdx.x / WARP, lane = lane_number();
    float *queries = shared, *douts = queries + TILE * stride, *keys = douts + TILE * stride, *values = keys + ROWS * d,
          *dkeys = values + ROWS * d, *dvalues = dkeys + ROWS * d, *probabilities = dvalues + ROWS * d + 2 * warp * WARP,
          *slopes = probabilities + WARP;
    HeadPlace p = head_place(a, pieces_of(a.keys, ROWS));
    int first = p.piece * ROWS;
    int64_t wide = (int64_t)a.heads * d;
    const T *q = head_of_const<T>(a, p, a.q, a.queries, a.q_stride), *dout = head_of_const<T>(a, p, a.dout, a.queries, wide);
    rows_load(keys, d, head_of_const<T>(a, p, a.k, a.keys, a.kv_stride), a.kv_stride, first, a.keys, ROWS, d);
    rows_load(values, d, head_of_const<T>(a, p, a.v, a.keys, a.kv_stride), a.kv_stride, first, a.keys, ROWS, d);
    for (int i = (int)threadIdx.x; i < 2 * ROWS * d; i += BLOCK)
        dkeys[i] = 0; /* and dvalues behind them */
    for (int query = 0; query < a.queries; query += TILE) {
        __syncthreads();
        rows_load(queries, stride, q, a.q_stride, query, a.queries, TILE, d);
        rows_load(douts, stride, dout, wide, query, a.queries, TILE, d);
        __syncthreads();
        for (int r = 0; r < OWN && first + warp * OWN + r < a.keys; r++) {
            int row = warp * OWN + r;
            int64_t at = p.unit * a.queries + query + lane;
            float probability = 0, slope = 0;
            if (query + lane < a.queries) {
                probability = expf(a.scale * dot(keys + row * d, queries + lane * stride, d) +
                                   bias_at(a, p.head, query + lane, first + row) - a.lse[at]);
                slope = a.scale * probability * (dot(values + row * d, douts + lane * stride, d) - both[at]);
            }
            probabilities[lane] = probability;
            slopes[lane] = slope;
            __syncwarp();
            rows_add(dkeys + row * d, slopes, queries, d, 1.0f);
            rows_add(dvalues + row * d, probabilities, douts, d, 1.0f);
            __syncwarp();
        }
    }
    T *dk = head_of(a, p, static_cast<T *>(a.dk), a.keys, a.kv_stride),
      *dv = head_of(a, p, static_cast<T *>(a.dv), a.keys, a.kv_stride);
    for (int r = 0; r < OWN && first + warp * OWN + r < a.keys; r++) {
        int row = warp * OWN + r;
        row_store(dk + (first + row) * a.kv_stride, dkeys + row * d, d, 1.0f, a.add_kv);
        row_store(dv + (first + row) * a.kv_stride, dvalues + row * d, d, 1.0f, a.add_kv);
    }
}

static size_t dbias_bytes(int d)
{
    return sizeof(float) * (size_t)(4 * TILE * tile_stride(d));
}

/* dbias = dS without its scale, summed over the groups in their order. Block (key tile, query tile, head); a warp has OWN
 * queries, a lane a key. */
template <class T> static __global__ void __launch_bounds__(BLOCK) attention_dbias_kernel(Heads a, const float *both)
{
    SHARED_DYNAMIC(float, shared);
    int d = a.d, stride = tile_stride(d), warp = (int)threadIdx.x / WARP, key = (int)blockIdx.x * TILE,
        query = (int)blockIdx.y * ROWS;
    float *keys = shared, *values = keys + TILE * stride, *queries = values + TILE * stride, *douts = queries + ROWS * stride;
    int64_t wide = (int64_t)a.heads * d;
    int column = key + lane_number();
    float sums[OWN] = {};
    for (int64_t group = 0; group < a.groups; group++) {
        HeadPlace p = {.group = group, .unit = group * a.heads + blockIdx.z, .head = (int)blockIdx.z, .piece = 0};
        __syncthreads();
        rows_load(queries, stride, head_of_const<T>(a, p, a.q, a.queries, a.q_stride), a.q_stride, query, a.queries, ROWS, d);
        rows_load(douts, stride, head_of_const<T>(a, p, a.dout, a.queries, wide), wide, query, a.queries, ROWS, d);
        rows_load(keys, stride, head_of_const<T>(a, p, a.k, a.keys, a.kv_stride), a.kv_stride, key, a.keys, TILE, d);
        rows_load(values, stride, head_of_const<T>(a, p, a.v, a.keys, a.kv_stride), a.kv_stride, key, a.keys, TILE, d);
        __syncthreads();
        for (int r = 0; r < OWN; r++) {
            int own = warp * OWN + r, row = query + own;
            if (row >= a.queries || column >= a.keys)
                continue;
            int64_t at = p.unit * a.queries + row;
            float logit =
                a.scale * dot(queries + own * stride, keys + lane_number() * stride, d) + bias_at(a, p.head, row, column);
            sums[r] += expf(logit - a.lse[at]) * (dot(douts + own * stride, values + lane_number() * stride, d) - both[at]);
        }
    }
    for (int r = 0; r < OWN; r++) {
        int row = query + warp * OWN + r;
        if (row < a.queries && column < a.keys)
            pack_put<1>(a.dbias + ((int64_t)blockIdx.z * a.queries + row) * a.keys + column, Floats<1>{{sums[r]}}, a.add_bias);
    }
}

/* A thread for each number of the softmax, when it is wanted: from the log-sums, behind the forward pass. */
template <class T> __global__ void attention_map_kernel(Heads a, float *map)
{
    int64_t at = (int64_t)blockIdx.x * BLOCK + threadIdx.x, all = a.groups * a.heads * a.queries * a.keys;
    if (at >= all)
        return;
    int64_t row = at / a.keys, unit = row / a.queries, group = unit / a.heads;
    int key = (int)(at % a.keys), query = (int)(row % a.queries), head = (int)(unit % a.heads);
    const T *q = static_cast<const T *>(a.q) + (group * a.queries + query) * a.q_stride + (int64_t)head * a.d;
    const T *k = static_cast<const T *>(a.k) + (group * a.keys + key) * a.kv_stride + (int64_t)head * a.d;
    float sum = 0;
    for (int i = 0; i < a.d; i++)
        sum += pack_load<1>(q + i).at[0] * pack_load<1>(k + i).at[0];
    map[at] = expf(a.scale * sum + bias_at(a, head, query, key) - a.lse[row]);
}

/* ---- host */

static Heads heads_of(const AttentionAttr *attr, const Tensor *q, const Tensor *kv)
{
    Heads a;
    memset(&a, 0, sizeof a);
    int64_t size = q->dtype == DTYPE_BF16 ? 2 : 4;
    const char *kv_data = data_of<const char>(kv);
    a.q_stride = q->columns;
    a.kv_stride = kv->columns;
    a.heads = attr->heads;
    a.queries = (int)attr->queries;
    a.keys = (int)attr->keys;
    a.d = (int)(attr->width / attr->heads);
    a.groups = attr->groups;
    a.scale = (float)attr->scale;
    a.q = data_of<const char>(q) + attr->q_column * size;
    a.k = kv_data + attr->k_column * size;
    a.v = kv_data + attr->v_column * size;
    return a;
}

static bool fits_plain(const CudaStream *s, size_t bytes, int d)
{
    return (int64_t)bytes <= s->features.shared_most ||
           error_set("attention: heads of %d columns do not fit into this GPU's shared memory; use more heads", d);
}

static dim3 head_blocks(const Heads &a, int rows, int step)
{
    return dim3((unsigned)(a.groups * a.heads * pieces_of(rows, step)));
}

extern "C" bool CUDA(attention)(const Call *c, CudaStream *s)
{
    const Tensor *q = &c->in[ATTENTION_Q];
    Heads a = heads_of((const AttentionAttr *)c->attr, q, &c->in[ATTENTION_KV]);
    a.bias = data_of(&c->in[ATTENTION_BIAS]);
    a.out = c->out[ATTENTION_O].data;
    a.lse = data_of(&c->out[ATTENTION_LSE]);
    bool tensor = attention_fits_tensor(a, q->dtype);
    size_t bytes = forward_bytes(a.d);
    if (!tensor && !fits_plain(s, bytes, a.d))
        return false;
    if (tensor)
        attention_tensor(s, a);
    float *map = data_of(&c->out[ATTENTION_MAP]);
    with_type(q->dtype, [&](auto t) {
        typedef decltype(t) T;
        if (!tensor)
            cuda_launch(s, attention_kernel<T>, head_blocks(a, a.queries, ROWS), dim3(BLOCK), bytes, a);
        if (map)
            cuda_launch(s, attention_map_kernel<T>, blocks_of(a.groups * a.heads * a.queries * a.keys, BLOCK), dim3(BLOCK), 0,
                        a, map);
    });
    return cuda_launched(s, "attention");
}

extern "C" bool CUDA(attention_grad)(const Call *c, CudaStream *s)
{
    const AttentionAttr *attr = (const AttentionAttr *)c->attr;
    const Tensor *q = &c->in[ATTENTION_GRAD_Q], *kv = &c->in[ATTENTION_GRAD_KV], *dq = &c->out[ATTENTION_GRAD_DQ];
    bool packed = q->data == kv->data;
    const Tensor *dkv = packed ? dq : &c->out[ATTENTION_GRAD_DKV];
    int64_t size = q->dtype == DTYPE_BF16 ? 2 : 4;
    Heads a = heads_of(attr, q, kv);
    a.o = c->in[ATTENTION_GRAD_O].data;
    a.dout = c->in[ATTENTION_GRAD_DO].data;
    a.lse = data_of(&c->in[ATTENTION_GRAD_LSE]);
    a.dq = dq->data ? data_of<char>(dq) + attr->q_column * size : NULL;
    a.dk = dkv->data ? data_of<char>(dkv) + attr->k_column * size : NULL;
    a.dv = dkv->data ? data_of<char>(dkv) + attr->v_column * size : NULL;
    a.add_q = call_accumulates(c, ATTENTION_GRAD_DQ);
    a.add_kv = packed ? a.add_q : call_accumulates(c, ATTENTION_GRAD_DKV);
    a.bias = data_of(&c->in[ATTENTION_GRAD_BIAS]);
    a.dbias = data_of(&c->out[ATTENTION_GRAD_DBIAS]);
    a.add_bias = call_accumulates(c, ATTENTION_GRAD_DBIAS);
    float *both = static_cast<float *>(c->work);
    bool tensor = attention_fits_tensor(a, q->dtype);
    size_t bytes = grad_bytes(a.d);
    if ((!tensor && !fits_plain(s, bytes, a.d)) || (a.dbias && !fits_plain(s, dbias_bytes(a.d), a.d)))
        return false;
    with_type(q->dtype, [&](auto t) {
        typedef decltype(t) T;
        cuda_launch(s, both_kernel<T>, blocks_of(a.groups * a.heads * a.queries, WARPS), dim3(BLOCK), 0, a, both);
        if (!tensor && a.dq)
            cuda_launch(s, attention_dq_kernel<T>, head_blocks(a, a.queries, ROWS), dim3(BLOCK), bytes, a, both);
        if (!tensor && a.dk)
            cuda_launch(s, attention_dkv_kernel<T>, head_blocks(a, a.keys, ROWS), dim3(BLOCK), bytes, a, both);
        if (a.dbias)
            cuda_launch(s, attention_dbias_kernel<T>,
                        dim3((unsigned)pieces_of(a.keys, TILE), (unsigned)pieces_of(a.queries, ROWS), (unsigned)a.heads),
                        dim3(BLOCK), dbias_bytes(a.d), a, both);
    });
    if (tensor)
        attention_grad_tensor(s, a, both);
    return cuda_launched(s, "attention_grad");
}
