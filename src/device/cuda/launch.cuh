/* What every .cu file begins with: CUDA itself, or in tests the lock-step one, and how a kernel is started in both. */
#ifndef LACUNA_DEVICE_CUDA_LAUNCH_CUH
#define LACUNA_DEVICE_CUDA_LAUNCH_CUH

#ifdef LACUNA_LOCKSTEP
#include "device/cuda/fake.h"
#include "device/cuda/lockstep.h"
#else
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#endif

#include <stdint.h>
#include <string.h>

#include "device/cuda/stream.h"

#ifdef LACUNA_LOCKSTEP
#define UNROLL
#else
#define UNROLL _Pragma("unroll")
#endif

/* SHARED: an array of the block's. SHARED_DYNAMIC: its dynamic shared memory, aligned to 16 bytes. */
#ifdef LACUNA_LOCKSTEP
#define SHARED(type, name, count)                                                           \
    static type name[count];                                                                \
    static const bool name##_is_known = lockstep_know_shared(name, sizeof(type) * (count)); \
    (void)name##_is_known
#define SHARED_DYNAMIC(type, name) type *name = static_cast<type *>(lockstep_shared())
#else
#define SHARED(type, name, count) __shared__ type name[count]
#define SHARED_DYNAMIC(type, name)                              \
    extern __shared__ __align__(16) unsigned char all_shared[]; \
    type *name = reinterpret_cast<type *>(all_shared)
#endif

#ifdef LACUNA_LOCKSTEP
template <class Thread> struct LockstepWork {
    dim3 grid, block;
    size_t shared;
    Thread thread;

    static void run(void *work)
    {
        auto *w = static_cast<LockstepWork *>(work);
        lockstep_launch(
            w->grid, w->block, w->shared, [](void *thread) { (*static_cast<Thread *>(thread))(); }, &w->thread);
    }
    static void release(void *work)
    {
        delete static_cast<LockstepWork *>(work);
    }
};
#endif

/* Puts a launch into the stream; cuda_launched() says later whether it was accepted. shared: bytes of dynamic shared memory, up
 * to features.shared_most; a kernel that is given more than 48 KiB has no other shared arrays. */
template <class... Parameters, class... Arguments>
void cuda_launch(CudaStream *stream, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                 Arguments... arguments)
{
#ifdef LACUNA_LOCKSTEP
    auto thread = [=] { kernel(static_cast<Parameters>(arguments)...); };
    typedef LockstepWork<decltype(thread)> Work;
    fake_enqueue(stream->handle, "kernel", Work::run, Work::release, new Work{grid, block, shared, thread});
#else
    /* All there is, always: a limit set to this launch's needs could be below what the same kernel asks for in a graph. */
    if (shared > 48 << 10)
        cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             (int)stream->features.shared_most);
    kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream->handle)>>>(static_cast<Parameters>(arguments)...);
#endif
}

/* bf16 as it lies in memory. */
struct Bf16 {
    uint16_t bits;
};

static __device__ inline float to_float(float x)
{
    return x;
}

static __device__ inline float to_float(Bf16 x)
{
    uint32_t bits = (uint32_t)x.bits << 16;
#ifdef LACUNA_LOCKSTEP
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
#else
    return __uint_as_float(bits);
#endif
}

/* x in the type T, rounded to the nearest. */
template <class T> __device__ inline T from_float(float x);

template <> __device__ inline float from_float<float>(float x)
{
    return x;
}

template <> __device__ inline Bf16 from_float<Bf16>(float x)
{
#ifdef LACUNA_LOCKSTEP
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return Bf16{(uint16_t)(bits >> 16 | 0x40u)};
    return Bf16{(uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
#else
    return Bf16{__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#endif
}

#endif
