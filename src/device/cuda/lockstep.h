/* CUDA kernels on the CPU, for tests: the same source, compiled as C++. Blocks run one after another; the threads of a block
 * are fibers, each of which runs on to its next barrier or exchange with its warp. What a GPU leaves undefined is an error
 * here: threads that wait at different places, or for one that has ended, and writing beside the dynamic shared memory. A
 * forgotten barrier shows as a result that depends on the order in which threads run (lockstep_set_order()).
 *
 * Only launch.cuh includes this. Its names are CUDA's where kernels use them. */
#ifndef LACUNA_DEVICE_CUDA_LOCKSTEP_H
#define LACUNA_DEVICE_CUDA_LOCKSTEP_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "device/cuda/lockstep_control.h"

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

/* Runs thread(context) for every thread of the grid. */
void lockstep_launch(dim3 grid, dim3 block, size_t shared, void (*thread)(void *), void *context);

/* The block's dynamic shared memory, NaNs at its start. */
void *lockstep_shared(void);

/* An array of the block's, which holds NaNs at the start of each, too. Returns true. */
bool lockstep_know_shared(void *at, size_t bytes);

void lockstep_barrier(int line);

/* Called by all lanes of `mask` with as many bytes: `all` gets those of lane i at all + i size, NaNs where i is not in the
 * mask.
 */
void lockstep_exchange(unsigned mask, const void *mine, void *all, size_t size, int line);

enum { LOCKSTEP_WARP = 32 };

static inline int lockstep_lane(void)
{
    return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % LOCKSTEP_WARP);
}

template <class T> T lockstep_shuffle(unsigned mask, T value, int from, int line)
{
    T all[LOCKSTEP_WARP];
    lockstep_exchange(mask, &value, all, sizeof value, line);
    return all[from];
}

static inline unsigned lockstep_ballot(unsigned mask, bool value, int line)
{
    unsigned char all[LOCKSTEP_WARP], mine = value;
    lockstep_exchange(mask, &mine, all, 1, line);
    unsigned bits = 0;
    for (int i = 0; i < LOCKSTEP_WARP; i++)
        bits |= (unsigned)((mask >> i & 1) && all[i]) << i;
    return bits;
}

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)

#define __syncthreads()                      lockstep_barrier(__LINE__)
#define __syncwarp()                         lockstep_ballot(0xffffffffu, true, __LINE__)
#define __ballot_sync(mask, value)           lockstep_ballot(mask, value, __LINE__)
#define __any_sync(mask, value)              (lockstep_ballot(mask, value, __LINE__) != 0)
#define __all_sync(mask, value)              (lockstep_ballot(mask, value, __LINE__) == (mask))
#define __shfl_sync(mask, value, lane)       lockstep_shuffle(mask, value, (lane) % LOCKSTEP_WARP, __LINE__)
#define __shfl_xor_sync(mask, value, change) lockstep_shuffle(mask, value, lockstep_lane() ^ (change), __LINE__)
#define __shfl_down_sync(mask, value, by) \
    lockstep_shuffle(mask, value, lockstep_lane() + (by) < LOCKSTEP_WARP ? lockstep_lane() + (by) : lockstep_lane(), __LINE__)

/* Threads take turns, so nothing can come between. */
template <class T> T atomicAdd(T *at, T value)
{
    T before = *at;
    *at += value;
    return before;
}

static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

#endif
