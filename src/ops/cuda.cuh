/* What the kernels of cuda.cu files share: packs of numbers that are loaded at once, sums over a warp and a block, and how work
 * is cut. All sums have one order, so results do not depend on how blocks are scheduled. */
#ifndef LACUNA_OPS_CUDA_CUH
#define LACUNA_OPS_CUDA_CUH

#include <type_traits>

#include "device/cuda/launch.cuh"

enum {
    WARP = 32,
    BLOCK = 256,
    WARPS = BLOCK / WARP,
    PACK = 4 /* numbers that a thread takes at once: 16 bytes of f32, 8 of bf16 */
};

/* ---- host */

static inline int64_t pieces(int64_t count, int64_t step)
{
    return (count + step - 1) / step;
}

static inline dim3 blocks_of(int64_t count, int64_t step)
{
    return dim3((unsigned)pieces(count, step));
}

template <class T = float> static inline T *data_of(const Tensor *t)
{
    return static_cast<T *>(t->data);
}

static inline int64_t count_of(const Tensor *t)
{
    return t->rows * t->columns;
}

/* Whether rows of so many numbers may be taken in packs from these addresses (NULL is left out). */
template <class... P> static inline bool packs_fit(int64_t columns, const P *...pointers)
{
    return columns % PACK == 0 && ((reinterpret_cast<uintptr_t>(pointers) | ...) % 16) == 0;
}

/* f(a constant): PACK or 1. */
template <class F> static inline void with_pack(bool fits, F f)
{
    if (fits)
        f(std::integral_constant<int, PACK>());
    else
        f(std::integral_constant<int, 1>());
}

/* f(a number of that type) */
template <class F> static inline void with_type(DType type, F f)
{
    if (type == DTYPE_BF16)
        f(Bf16());
    else
        f(float());
}

/* ---- packs */

template <class T, int N> struct alignas(sizeof(T) * N) Pack {
    T at[N];
};

template <int N> struct Floats {
    float at[N];
};

template <int N, class T> __device__ inline Floats<N> pack_load(const T *from)
{
    Pack<T, N> pack = *reinterpret_cast<const Pack<T, N> *>(from);
    Floats<N> numbers;
    for (int k = 0; k < N; k++)
        numbers.at[k] = to_float(pack.at[k]);
    return numbers;
}

template <int N, class T> __device__ inline void pack_store(T *to, const Floats<N> &numbers)
{
    Pack<T, N> pack;
    for (int k = 0; k < N; k++)
        pack.at[k] = from_float<T>(numbers.at[k]);
    *reinterpret_cast<Pack<T, N> *>(to) = pack;
}

/* Overwrites or adds. */
template <int N, class T> __device__ inline void pack_put(T *to, Floats<N> numbers, bool add)
{
    if (add) {
        Floats<N> before = pack_load<N>(to);
        for (int k = 0; k < N; k++)
            numbers.at[k] += before.at[k];
    }
    pack_store<N>(to, numbers);
}

/* ---- places in the grid */

/* The thread's number in the grid. */
static __device__ inline int64_t thread_number(void)
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* For kernels that give each warp a row: the warp's number in the grid, and the lane in it. */
static __device__ inline int64_t warp_number(void)
{
    return thread_number() / WARP;
}

static __device__ inline int lane_number(void)
{
    return (int)threadIdx.x % WARP;
}

static __device__ inline int bits_set(unsigned x)
{
#ifdef LACUNA_LOCKSTEP
    return __builtin_popcount(x);
#else
    return __popc(x);
#endif
}

/* ---- sums */

/* Every lane gets the sum of all. */
template <class T> __device__ inline T warp_sum(T x)
{
    for (int step = WARP / 2; step; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

/* Every thread of a block of BLOCK gets the sum of all. */
template <class T> __device__ inline T block_sum(T x)
{
    SHARED(T, parts, WARPS);
    x = warp_sum(x);
    __syncthreads(); /* parts may still be read from the last time */
    if (lane_number() == 0)
        parts[threadIdx.x / WARP] = x;
    __syncthreads();
    T sum = parts[0];
    for (int w = 1; w < WARPS; w++)
        sum += parts[w];
    return sum;
}

/* The sum of `count` numbers, in one order, by one block. */
static __device__ inline double partials_sum(const double *partial, int64_t count)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += BLOCK)
        sum += partial[i];
    return block_sum(sum);
}

/* Each warp of a block of BLOCK has summed other rows of the same columns, N a lane: `to` gets the sums of all, added in order.
 * The whole block comes here; a lane that has no columns says so. */
template <int N> static __device__ inline void warps_sum(Floats<N> sum, float *to, bool has_columns)
{
    SHARED(float, parts, WARPS *WARP *PACK);
    for (int k = 0; k < N; k++)
        parts[threadIdx.x * N + k] = sum.at[k];
    __syncthreads();
    if (threadIdx.x >= WARP || !has_columns)
        return;
    for (int w = 1; w < WARPS; w++)
        for (int k = 0; k < N; k++)
            sum.at[k] += parts[(w * WARP + threadIdx.x) * N + k];
    pack_store<N>(to, sum);
}

/* to[i] = or += the sum over t < count of partial[t stride + i]; i < columns. A block takes WARP columns; each of its warps
 * sums every WARPS-th t, in order, and then these sums are added in order. */
template <class T>
static __global__ void partials_kernel(const float *partial, int64_t count, int64_t stride, int64_t columns, T *to, bool add)
{
    SHARED(float, parts, WARPS *WARP);
    int lane = lane_number(), warp = (int)threadIdx.x / WARP;
    int64_t i = (int64_t)blockIdx.x * WARP + lane;
    float sum = 0;
    for (int64_t t = warp; t < count && i < columns; t += WARPS)
        sum += partial[t * stride + i];
    parts[warp * WARP + lane] = sum;
    __syncthreads();
    if (warp > 0 || i >= columns)
        return;
    for (int w = 1; w < WARPS; w++)
        sum += parts[w * WARP + lane];
    pack_put<1>(to + i, Floats<1>{{sum}}, add);
}

template <class T>
static inline void partials_add(CudaStream *stream, const float *partial, int64_t count, int64_t stride, int64_t columns, T *to,
                                bool add)
{
    cuda_launch(stream, partials_kernel<T>, blocks_of(columns, WARP), dim3(BLOCK), 0, partial, count, stride, columns, to, add);
}

#endif
