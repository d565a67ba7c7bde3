/* Where programs run. `cpu` uses the fast kernels of the level the processor has, `ref` the plain C ones, in f32 or f64, `cuda`
 * an NVIDIA GPU. */
#ifndef LACUNA_DEVICE_DEVICE_H
#define LACUNA_DEVICE_DEVICE_H

#include "base/cpu.h"
#include "base/text.h"
#include "device/kernel.h"

typedef enum { DEVICE_REF, DEVICE_CPU, DEVICE_CUDA } DeviceKind;

/* What a device cannot do in one kernel; lowering splits such nodes. */
enum {
    DEVICE_LACKS_PROLOGUE = 1, /* linear: LayerNorm or activation of its input */
    DEVICE_LACKS_EPILOGUE = 2, /* linear: scales and residual of its output */
    DEVICE_LACKS_ROUNDING = 4  /* linear in bf16: operands that are f32, or scaled on their way into the product */
};

typedef struct CudaDevice CudaDevice;

typedef struct {
    DeviceKind kind;
    CpuLevel level;   /* which build of the cpu kernels */
    bool f64;         /* REAL values are f64 (only ref) */
    int threads;      /* of the parallel region, at least 1 */
    uint32_t lacks;   /* bits as above */
    CudaDevice *cuda; /* of `cuda`, else NULL */
    bool one_by_one;  /* cuda: each kernel is launched by itself, none as part of a captured graph */
    bool second_lane; /* cuda: in captured graphs weight gradients are computed beside what follows them */
    bool host_sums;   /* cuda: several GPUs sum gradients through the host, although NCCL may be there */
} Device;

/* name: "cpu", "cuda", "cuda:1" (that GPU; without a number the first), "auto" (the cpu, as long as nothing was tested on a
 * GPU; docs/gpu.md), "ref" or "ref64". threads 0: as many as processors. With LACUNA_CUDA_GRAPH=0 in the environment
 * `one_by_one` is set, with LACUNA_CUDA_LANES=2 `second_lane`, with LACUNA_NCCL=0 `host_sums`. false after error_set(); *device
 * can then be closed all the same. */
bool device_open(const char *name, int threads, Device *device);

/* Behind the last program of the device. */
void device_close(Device *device);

/* Whether factors of f32 products may be rounded to TF32 from now on; without meaning but for cuda. */
void device_set_tf32(Device *device, bool tf32);

/* Whether products that a GPU meets in programs made from now on are timed with several algorithms; without meaning but for
 * cuda, and with `one_by_one`. */
void device_set_autotune(Device *device, bool autotune);

/* How many kinds of products were timed, here or before; these as JSON. Reading it before the first program takes it over;
 * *fits false: it is of another GPU or other libraries, and nothing is taken. False after error_set(): damaged. */
size_t device_timed(const Device *device);
void device_write_timed(const Device *device, Text *out);
bool device_read_timed(Device *device, const char *json, bool *fits);

/* "cpu (avx512, 2 threads)" and the like; text of a static buffer per thread. */
const char *device_describe(const Device *device);

/* Bytes of one element. */
size_t device_element(const Device *device, DType dtype);

#endif
