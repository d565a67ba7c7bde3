/* Scaled and rounded rows and their column sums on a GPU, for this room and `linear`. */
#ifndef LACUNA_OPS_OPERAND_CUDA_CUH
#define LACUNA_OPS_OPERAND_CUDA_CUH

#include "ops/cuda.cuh"
#include "ops/operand/work.h"

typedef struct {
    int64_t rows, n, per_group; /* per_group: rows that share a row scale */
    const void *x;
    const float *column, *row; /* scales, or NULL */
    Bf16 *y;                   /* NULL: only the sums are wanted */
    float *partials;           /* column sums of each OPERAND_TILE rows, or NULL */
} OperandPass;

/* A block takes a tile of rows and as many columns as a warp's packs; its warps take every WARPS-th row, and add up their sums
 * in order. */
template <int N, class From> static __global__ void operand_kernel(OperandPass p)
{
    int warp = (int)threadIdx.x / WARP;
    int64_t column = ((int64_t)blockIdx.y * WARP + lane_number()) * N, first = (int64_t)blockIdx.x * OPERAND_TILE,
            end = first + OPERAND_TILE < p.rows ? first + OPERAND_TILE : p.rows;
    Floats<N> sum = {};
    for (int64_t row = first + warp; row < end && column < p.n; row += WARPS) {
        Floats<N> v = pack_load<N>(static_cast<const From *>(p.x) + row * p.n + column);
        float factor = p.row ? p.row[row / p.per_group] : 1.0f;
        for (int k = 0; k < N; k++) {
            v.at[k] *= p.column ? factor * p.column[column + k] : factor;
            sum.at[k] += v.at[k];
        }
        if (p.y)
            pack_store<N>(p.y + row * p.n + column, v);
    }
    if (p.partials)
        warps_sum<N>(sum, p.partials + blockIdx.x * p.n + column, column < p.n);
}

static inline void operand_launch(CudaStream *s, const OperandPass &p, DType from)
{
    with_pack(packs_fit(p.n, static_cast<const float *>(p.x), p.y, p.partials), [&](auto n) {
        with_type(from, [&](auto f) {
            dim3 grid((unsigned)pieces(p.rows, OPERAND_TILE), (unsigned)pieces(p.n, WARP * n.value));
            cuda_launch(s, operand_kernel<n.value, decltype(f)>, grid, dim3(BLOCK), 0, p);
        });
    });
}

/* The column sums of all rows, behind operand_launch(). */
static inline void operand_sums(CudaStream *s, const OperandPass &p, float *sums, bool add)
{
    partials_add(s, p.partials, pieces(p.rows, OPERAND_TILE), p.n, p.n, sums, add);
}

#endif
