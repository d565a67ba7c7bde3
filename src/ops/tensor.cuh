/* Products of 16 x 16 and 16 x 8 bf16 on tensor cores, a warp each. In lock-step the same is computed from what the lanes hold,
 * so that kernels built on it are tested with their layouts.
 *
 * With g = lane / 4 and t = lane % 4, and pairs of bf16 in a register, the first in its lower half: a left operand has rows g
 * and g + 8 at columns 2t, 2t + 1 in a[0] and a[1], and at columns 2t + 8, 2t + 9 in a[2] and a[3]; a right operand has column
 * g at rows 2t, 2t + 1 in b[0] and 2t + 8, 2t + 9 in b[1]; sums have row g at columns 2t, 2t + 1 in s[0], s[1], row g + 8 in
 * s[2], s[3]. */
#ifndef LACUNA_OPS_TENSOR_CUH
#define LACUNA_OPS_TENSOR_CUH

#include "ops/cuda.cuh"

/* s += a b */
static __device__ inline void tensor_multiply(float *s, const uint32_t *a, const uint32_t *b)
{
#ifdef LACUNA_LOCKSTEP
    struct Operands {
        Bf16 a[8], b[4];
    } mine, all[WARP];
    memcpy(mine.a, a, sizeof mine.a);
    memcpy(mine.b, b, sizeof mine.b);
    lockstep_exchange(0xffffffffu, &mine, all, sizeof mine, __LINE__);
    for (int e = 0; e < 4; e++) {
        int row = lane_number() / 4 + e / 2 * 8, column = lane_number() % 4 * 2 + e % 2;
        for (int k = 0; k < 16; k++)
            s[e] += to_float(all[row % 8 * 4 + k % 8 / 2].a[(row / 8 + k / 8 * 2) * 2 + k % 2]) *
                    to_float(all[column * 4 + k % 8 / 2].b[k / 8 * 2 + k % 2]);
    }
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/* Four 8 x 8 blocks of bf16 from shared memory. Lanes 8 j .. 8 j + 7 give the addresses (of 16 bytes) of block j's rows. Each
 * lane gets of block j, in to[j], row g at columns 2t, 2t + 1; with TURNED rows 2t, 2t + 1 at column g. */
template <bool TURNED> __device__ inline void tensor_load(uint32_t *to, const Bf16 *row)
{
#ifdef LACUNA_LOCKSTEP
    const Bf16 *rows[WARP];
    lockstep_exchange(0xffffffffu, &row, rows, sizeof row, __LINE__);
    int g = lane_number() / 4, t = lane_number() % 4;
    for (int j = 0; j < 4; j++) {
        Bf16 low = TURNED ? rows[8 * j + 2 * t][g] : rows[8 * j + g][2 * t],
             high = TURNED ? rows[8 * j + 2 * t + 1][g] : rows[8 * j + g][2 * t + 1];
        to[j] = low.bits | (uint32_t)high.bits << 16;
    }
#else
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    if (TURNED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at)
                     : "memory");
#endif
}

static __device__ inline uint32_t tensor_pair(float low, float high)
{
#ifdef LACUNA_LOCKSTEP
    return from_float<Bf16>(low).bits | (uint32_t)from_float<Bf16>(high).bits << 16;
#else
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&pair);
#endif
}

/* Two neighbouring blocks of sums, 16 columns together, as a left operand. */
static __device__ inline void tensor_left(uint32_t *a, const float (*s)[4])
{
    a[0] = tensor_pair(s[0][0], s[0][1]);
    a[1] = tensor_pair(s[0][2], s[0][3]);
    a[2] = tensor_pair(s[1][0], s[1][1]);
    a[3] = tensor_pair(s[1][2], s[1][3]);
}

#endif
