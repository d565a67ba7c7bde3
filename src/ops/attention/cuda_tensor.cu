/* Attention of bf16 on tensor cores, for heads of up to 80 columns. A warp keeps 16 rows in registers; the rows that they meet
 * come through shared memory, TILE at a time. The gradient is two such passes: one over queries makes dq, one over keys dk and
 * dv, each from the map computed anew. So no sum is shared between blocks. */
#include "ops/attention/cuda.cuh"
#include "ops/tensor.cuh"

enum { TILE = 64, MOST_WARPS = TILE / 16, MOST_DEPTH = 5 };

#define LOG2_E 1.44269504f
#define LN_2   0.69314718f

/* DEPTH: a head's columns in steps of 16, filled with zeros. Rows of a tile begin 16 bytes apart modulo 32, so that eight of
 * them lie in different banks. */
template <int DEPTH> static __host__ __device__ constexpr int tile_stride(void)
{
    return 16 * DEPTH + 8;
}

/* `count` rows from `first` on; zeros behind the last row and column. */
template <int DEPTH>
static __device__ inline void tile_load(Bf16 *to, const Bf16 *x, int64_t stride, int first, int rows, int count, int d)
{
    typedef Pack<Bf16, 8> Chunk;
    for (int i = (int)threadIdx.x; i < count * 2 * DEPTH; i += (int)blockDim.x) {
        int row = i / (2 * DEPTH), column = i % (2 * DEPTH) * 8;
        Chunk chunk = {};
        if (first + row < rows && column < d)
            chunk = *reinterpret_cast<const Chunk *>(x + (first + row) * stride + column);
        *reinterpret_cast<Chunk *>(to + row * tile_stride<DEPTH>() + column) = chunk;
    }
}

/* The warp's 16 rows of a tile as left operands. */
template <int DEPTH> static __device__ inline void rows_take(uint32_t (*a)[4], const Bf16 *tile)
{
    int lane = lane_number(), row = (int)threadIdx.x / WARP * 16 + lane % 16;
    for (int k = 0; k < DEPTH; k++)
        tensor_load<false>(a[k], tile + row * tile_stride<DEPTH>() + 16 * k + lane / 16 * 8);
}

/* s = the products of the warp's rows with 16 rows of a tile from `row` on. */
template <int DEPTH>
static __device__ inline void rows_multiply(float (*s)[4], const uint32_t (*a)[4], const Bf16 *tile, int row)
{
    int lane = lane_number();
    const Bf16 *from = tile + (row + lane / 16 * 8 + lane % 8) * tile_stride<DEPTH>() + lane / 8 % 2 * 8;
    for (int e = 0; e < 4; e++)
        s[0][e] = s[1][e] = 0;
    UNROLL
    for (int k = 0; k < DEPTH; k++) {
        uint32_t b[4];
        tensor_load<false>(b, from + 16 * k);
        tensor_multiply(s[0], a[k], b);
        tensor_multiply(s[1], a[k], b + 2);
    }
}

/* sums += weights (16 x 16) times 16 rows of a tile from `row` on. */
template <int DEPTH>
static __device__ inline void rows_add(float (*sums)[4], const float (*weights)[4], const Bf16 *tile, int row)
{
    int lane = lane_number();
    const Bf16 *from = tile + (row + lane % 16) * tile_stride<DEPTH>() + lane / 16 * 8;
    uint32_t a[4];
    tensor_left(a, weights);
    UNROLL
    for (int n = 0; n < DEPTH; n++) {
        uint32_t b[4];
        tensor_load<true>(b, from + 16 * n);
        tensor_multiply(sums[2 * n], a, b);
        tensor_multiply(sums[2 * n + 1], a, b + 2);
    }
}

/* Rows first + g and first + g + 8 of x = or += sums times a factor each. */
template <int DEPTH>
static __device__ inline void rows_store(Bf16 *x, int64_t stride, int first, int rows, int d, const float (*sums)[4],
                                         const float *factor, bool add)
{
    int g = lane_number() / 4, t = lane_number() % 4;
    UNROLL
    for (int n = 0; n < 2 * DEPTH; n++)
        for (int half = 0; half < 2; half++) {
            int row = first + g + 8 * half;
            if (row < rows && 8 * n < d)
                pack_put<2>(x + row * stride + 8 * n + 2 * t,
                            Floats<2>{{sums[n][2 * half] * factor[half], sums[n][2 * half + 1] * factor[half]}}, add);
        }
}

/* The largest, or the sum, of the four lanes that have a row. */
static __device__ inline float row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

static __device__ inline float row_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/* Rows that a block takes, and the pieces that a head is cut into. */
static __device__ inline int block_rows(void)
{
    return (int)blockDim.x / WARP * 16;
}

/* Rows that a tile has room for: those it is filled with at most, `rows` being all of them, and once the block's own. Short
 * heads take less shared memory, so that more blocks fit. */
static __host__ __device__ inline int tile_rows(int rows, int own)
{
    int filled = rows < TILE ? (rows + 15) / 16 * 16 : TILE;
    return filled > own ? filled : own;
}

/* Rows of a tile that are filled from row `first` on: what is multiplied, 16 at a time. */
static __device__ inline int tile_fill(int first, int rows)
{
    return tile_rows(rows - first, 0);
}

static __device__ inline HeadPlace tensor_place(const Heads &a, int rows)
{
    return head_place(a, (rows + block_rows() - 1) / block_rows());
}

template <int DEPTH> static __global__ void __launch_bounds__(MOST_WARPS *WARP) forward_kernel(Heads a)
{
    SHARED_DYNAMIC(Bf16, keys);
    Bf16 *values = keys + tile_rows(a.keys, block_rows()) * tile_stride<DEPTH>();
    HeadPlace p = tensor_place(a, a.queries);
    int lane = lane_number(), first = p.piece * block_rows(), own = first + (int)threadIdx.x / WARP * 16;
    const Bf16 *k = head_of_const<Bf16>(a, p, a.k, a.keys, a.kv_stride),
               *v = head_of_const<Bf16>(a, p, a.v, a.keys, a.kv_stride);
    uint32_t q[DEPTH][4];
    tile_load<DEPTH>(keys, head_of_const<Bf16>(a, p, a.q, a.queries, a.q_stride), a.q_stride, first, a.queries, block_rows(),
                     a.d);
    __syncthreads();
    rows_take<DEPTH>(q, keys);
    float out[2 * DEPTH][4] = {}, largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, scale = a.scale * LOG2_E;
    for (int key = 0; key < a.keys; key += TILE) {
        __syncthreads(); /* what was there before has been read */
        tile_load<DEPTH>(keys, k, a.kv_stride, key, a.keys, tile_fill(key, a.keys), a.d);
        tile_load<DEPTH>(values, v, a.kv_stride, key, a.keys, tile_fill(key, a.keys), a.d);
        __syncthreads();
        if (own >= a.queries)
            continue; /* all of the warp; it meets the others at the next tile */
        float s[TILE / 8][4], most[2] = {largest[0], largest[1]};
        UNROLL
        for (int b = 0; b < TILE / 16; b++)
            if (key + 16 * b < a.keys)
                rows_multiply<DEPTH>(s + 2 * b, q, keys, 16 * b);
        UNROLL
        for (int i = 0; i < TILE / 8; i++)
            for (int e = 0; e < 4; e++) {
                int column = key + 8 * i + lane % 4 * 2 + e % 2;
                if (a.bias)
                    s[i][e] += bias_at(a, p.head, own + lane / 4 + e / 2 * 8, column) / a.scale;
                s[i][e] = column < a.keys ? s[i][e] * scale : -INFINITY;
                most[e / 2] = fmaxf(most[e / 2], s[i][e]);
            }
        float keep[2];
        for (int half = 0; half < 2; half++) {
            most[half] = row_max(most[half]);
            keep[half] = exp2f(largest[half] - most[half]);
            largest[half] = most[half];
            sum[half] *= keep[half];
        }
        UNROLL
        for (int i = 0; i < TILE / 8; i++)
            for (int e = 0; e < 4; e++) {
                s[i][e] = exp2f(s[i][e] - most[e / 2]);
                sum[e / 2] += s[i][e];
            }
        UNROLL
        for (int n = 0; n < 2 * DEPTH; n++)
            for (int e = 0; e < 4; e++)
                out[n][e] *= keep[e / 2];
        UNROLL
        for (int b = 0; b < TILE / 16; b++)
            if (key + 16 * b < a.keys)
                rows_add<DEPTH>(out, s + 2 * b, values, 16 * b);
    }
    int64_t wide = (int64_t)a.heads * a.d;
    float factor[2];
    for (int half = 0; half < 2; half++) {
        sum[half] = row_sum(sum[half]);
        factor[half] = 1.0f / sum[half];
        int row = own + lane / 4 + 8 * half;
        if (lane % 4 == 0 && row < a.queries)
            a.lse[p.unit * a.queries + row] = (largest[half] + log2f(sum[half])) * LN_2;
    }
    rows_store<DEPTH>(head_of(a, p, static_cast<Bf16 *>(a.out), a.queries, wide), wide, own, a.queries, a.d, out, factor,
                      false);
}

template <int DEPTH> static __global__ void __launch_bounds__(MOST_WARPS *WARP) dq_kernel(Heads a, const float *both)
{
    SHARED_DYNAMIC(Bf16, keys);
    Bf16 *values = keys + tile_rows(a.keys, block_rows()) * tile_stride<DEPTH>();
    HeadPlace p = tensor_place(a, a.queries);
    int lane = lane_number(), first = p.piece * block_rows(), own = first + (int)threadIdx.x / WARP * 16;
    int64_t wide = (int64_t)a.heads * a.d;
    const Bf16 *k = head_of_const<Bf16>(a, p, a.k, a.keys, a.kv_stride),
               *v = head_of_const<Bf16>(a, p, a.v, a.keys, a.kv_stride);
    uint32_t q[DEPTH][4], dout[DEPTH][4];
    tile_load<DEPTH>(keys, head_of_const<Bf16>(a, p, a.q, a.queries, a.q_stride), a.q_stride, first, a.queries, block_rows(),
                     a.d);
    tile_load<DEPTH>(values, head_of_const<Bf16>(a, p, a.dout, a.queries, wide), wide, first, a.queries, block_rows(), a.d);
    __syncthreads();
    rows_take<DEPTH>(q, keys);
    rows_take<DEPTH>(dout, values);
    float sums[2 * DEPTH][4] = {}, log_sum[2] = {0, 0}, mean[2] = {0, 0}, scale = a.scale * LOG2_E;
    for (int half = 0; half < 2; half++) {
        int row = own + lane / 4 + 8 * half;
        if (row < a.queries) {
            log_sum[half] = a.lse[p.unit * a.queries + row] * LOG2_E;
            mean[half] = both[p.unit * a.queries + row];
        }
    }
    for (int key = 0; key < a.keys; key += TILE) {
        __syncthreads();
        tile_load<DEPTH>(keys, k, a.kv_stride, key, a.keys, tile_fill(key, a.keys), a.d);
        tile_load<DEPTH>(values, v, a.kv_stride, key, a.keys, tile_fill(key, a.keys), a.d);
        __syncthreads();
        if (own >= a.queries)
            continue; /* all of the warp; it meets the others at the next tile */
        for (int b = 0; b < TILE && key + b < a.keys; b += 16) {
            float s[2][4], dp[2][4];
            rows_multiply<DEPTH>(s, q, keys, b);
            rows_multiply<DEPTH>(dp, dout, values, b);
            for (int i = 0; i < 2; i++)
                for (int e = 0; e < 4; e++) {
                    int column = key + b + 8 * i + lane % 4 * 2 + e % 2;
                    if (a.bias)
                        s[i][e] += bias_at(a, p.head, own + lane / 4 + e / 2 * 8, column) / a.scale;
                    float weight = column < a.keys ? exp2f(s[i][e] * scale - log_sum[e / 2]) : 0.0f;
                    s[i][e] = weight * (dp[i][e] - mean[e / 2]) * a.scale;
                }
            rows_add<DEPTH>(sums, s, keys, b);
        }
    }
    const float one[2] = {1, 1};
    rows_store<DEPTH>(head_of(a, p, static_cast<Bf16 *>(a.dq), a.queries, a.q_stride), a.q_stride, own, a.queries, a.d, sums,
                      one, a.add_q);
}

/* The map is turned here: rows are keys. Queries behind the last are zeros, as are their log-sums and means, so they add
 * nothing. */
template <int DEPTH> static __global__ void __launch_bounds__(MOST_WARPS *WARP) dkv_kernel(Heads a, const float *both)
{
    SHARED_DYNAMIC(Bf16, queries);
    int tile = tile_rows(a.queries, block_rows()) * tile_stride<DEPTH>();
    Bf16 *douts = queries + tile;
    float *log_sums = reinterpret_cast<float *>(douts + tile), *means = log_sums + TILE;
    HeadPlace p = tensor_place(a, a.keys);
    int lane = lane_number(), first = p.piece * block_rows(), own = first + (int)threadIdx.x / WARP * 16;
    int64_t wide = (int64_t)a.heads * a.d;
    const Bf16 *q = head_of_const<Bf16>(a, p, a.q, a.queries, a.q_stride),
               *dout = head_of_const<Bf16>(a, p, a.dout, a.queries, wide);
    uint32_t k[DEPTH][4], v[DEPTH][4];
    tile_load<DEPTH>(queries, head_of_const<Bf16>(a, p, a.k, a.keys, a.kv_stride), a.kv_stride, first, a.keys, block_rows(),
                     a.d);
    tile_load<DEPTH>(douts, head_of_const<Bf16>(a, p, a.v, a.keys, a.kv_stride), a.kv_stride, first, a.keys, block_rows(), a.d);
    __syncthreads();
    rows_take<DEPTH>(k, queries);
    rows_take<DEPTH>(v, douts);
    float dk[2 * DEPTH][4] = {}, dv[2 * DEPTH][4] = {}, scale = a.scale * LOG2_E;
    for (int query = 0; query < a.queries; query += TILE) {
        __syncthreads();
        tile_load<DEPTH>(queries, q, a.q_stride, query, a.queries, tile_fill(query, a.queries), a.d);
        tile_load<DEPTH>(douts, dout, wide, query, a.queries, tile_fill(query, a.queries), a.d);
        for (int i = (int)threadIdx.x; i < TILE; i += (int)blockDim.x) {
            int64_t at = p.unit * a.queries + query + i;
            log_sums[i] = query + i < a.queries ? a.lse[at] * LOG2_E : 0.0f;
            means[i] = query + i < a.queries ? both[at] : 0.0f;
        }
        __syncthreads();
        if (own >= a.keys)
            continue;
        for (int b = 0; b < TILE && query + b < a.queries; b += 16) {
            float s[2][4], dp[2][4];
            rows_multiply<DEPTH>(s, k, queries, b);
            rows_multiply<DEPTH>(dp, v, douts, b);
            for (int i = 0; i < 2; i++)
                for (int e = 0; e < 4; e++) {
                    int column = b + 8 * i + lane % 4 * 2 + e % 2;
                    if (a.bias)
                        s[i][e] += bias_at(a, p.head, query + column, own + lane / 4 + e / 2 * 8) / a.scale;
                    s[i][e] = exp2f(s[i][e] * scale - log_sums[column]);
                    dp[i][e] = s[i][e] * (dp[i][e] - means[column]) * a.scale;
                }
            rows_add<DEPTH>(dv, s, douts, b);
            rows_add<DEPTH>(dk, dp, queries, b);
        }
    }
    const float one[2] = {1, 1};
    rows_store<DEPTH>(head_of(a, p, static_cast<Bf16 *>(a.dk), a.keys, a.kv_stride), a.kv_stride, own, a.keys, a.d, dk, one,
                      a.add_kv);
    rows_store<DEPTH>(head_of(a, p, static_cast<Bf16 *>(a.dv), a.keys, a.kv_stride), a.kv_stride, own, a.keys, a.d, dv, one,
                      a.add_kv);
}

/* ---- host */

bool attention_fits_tensor(const Heads &a, DType type)
{
    const void *const pointers[] = {a.q, a.k, a.v, a.o, a.dout, a.out, a.dq, a.dk, a.dv};
    bool fits = type == DTYPE_BF16 && a.d % 8 == 0 && a.d <= 16 * MOST_DEPTH && a.q_stride % 8 == 0 && a.kv_stride % 8 == 0;
    for (const void *pointer : pointers)
        fits = fits && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
    return fits;
}

/* Blocks take `rows` of each head, which meet `others`. Each has as few warps as do for their number: 65 rows are two blocks of
 * three warps, not of four. */
template <int DEPTH, class... P, class... A>
static void launch(CudaStream *s, const Heads &a, int rows, int others, void (*kernel)(P...), A... arguments)
{
    int64_t strips = pieces(rows, 16), blocks = pieces(strips, MOST_WARPS), warps = pieces(strips, blocks);
    int tile = tile_rows(others, (int)warps * 16) * tile_stride<DEPTH>();
    cuda_launch(s, kernel, dim3((unsigned)(a.groups * a.heads * blocks)), dim3((unsigned)(warps * WARP)),
                2 * (size_t)tile * sizeof(Bf16) + 2 * TILE * sizeof(float), arguments...);
}

/* f(a constant): the depth of a head. */
template <class F> static void with_depth(int d, F f)
{
    switch (pieces(d, 16)) {
    case 1:
        return f(std::integral_constant<int, 1>());
    case 2:
        return f(std::integral_constant<int, 2>());
    case 3:
        return f(std::integral_constant<int, 3>());
    case 4:
        return f(std::integral_constant<int, 4>());
    default:
        return f(std::integral_constant<int, MOST_DEPTH>());
    }
}

void attention_tensor(CudaStream *s, const Heads &a)
{
    with_depth(a.d, [&](auto n) { launch<n.value>(s, a, a.queries, a.keys, forward_kernel<n.value>, a); });
}

void attention_grad_tensor(CudaStream *s, const Heads &a, const float *both)
{
    with_depth(a.d, [&](auto n) {
        if (a.dq)
            launch<n.value>(s, a, a.queries, a.keys, dq_kernel<n.value>, a, both);
        if (a.dk)
            launch<n.value>(s, a, a.keys, a.queries, dkv_kernel<n.value>, a, both);
    });
}
