/* Names of kernels in an op's room. ref.c is compiled for f32 and f64, cpu.c once per instruction set; each kernel's symbol
 * carries the build as its ending, and these macros spell the endings out. */
#ifndef LACUNA_OPS_KERNELS_H
#define LACUNA_OPS_KERNELS_H

#include "graph/op.h"

#define REF_KERNELS(name)              \
    {                                  \
        name##_ref_f32, name##_ref_f64 \
    }
#define REF_DECLARE(name) void name##_ref_f32(const Call *, Worker *), name##_ref_f64(const Call *, Worker *)

#if defined(__x86_64__) && !defined(LACUNA_NO_CPU)
#define CPU_KERNELS(name)                                                                             \
    {                                                                                                 \
        [CPU_WIDE] = name##_cpu_wide, [CPU_AVX2] = name##_cpu_avx2, [CPU_AVX512] = name##_cpu_avx512, \
        [CPU_AVX512BF16] = name##_cpu_avx512bf16                                                      \
    }
#define CPU_DECLARE(name)                                                                  \
    void name##_cpu_wide(const Call *, Worker *), name##_cpu_avx2(const Call *, Worker *), \
        name##_cpu_avx512(const Call *, Worker *), name##_cpu_avx512bf16(const Call *, Worker *)
#else
#define CPU_KERNELS(name) \
    {                     \
        0                 \
    }
#define CPU_DECLARE(name) struct Unused
#endif

/* cuda.cu is compiled for NVIDIA's GPUs where the CUDA toolkit is found, and by the C++ compiler for tests, which run a block's
 * threads in lock-step. Which of the two is linked, if any, decides what an op's row holds: weak symbols are NULL otherwise. */
#define CUDA_KERNEL(name)  name##_cuda
#define CUDA_DECLARE(name) bool name##_cuda(const Call *, CudaStream *) __attribute__((weak))

/* In cpu.c: CPU(linear) is linear_cpu_avx2 and so on. */
#define CPU_JOIN(name, level)  name##_cpu_##level
#define CPU_LEVEL(name, level) CPU_JOIN(name, level)
#define CPU(name)              CPU_LEVEL(name, LACUNA_LEVEL)

#endif
