/* Where programs run. `cpu` uses the fast kernels of the level the processor has, `ref` the plain C ones, in f32 or f64. */
#ifndef LACUNA_DEVICE_DEVICE_H
#define LACUNA_DEVICE_DEVICE_H

#include "base/cpu.h"
#include "device/kernel.h"

typedef enum { DEVICE_REF, DEVICE_CPU } DeviceKind;

/* What a device cannot do in one kernel; lowering splits such nodes. */
enum {
    DEVICE_LACKS_PROLOGUE = 1, /* linear: LayerNorm or activation of its input */
    DEVICE_LACKS_EPILOGUE = 2, /* linear: scales and residual of its output */
};

typedef struct {
    DeviceKind kind;
    CpuLevel level; /* which build of the cpu kernels */
    bool f64;       /* REAL values are f64 (only ref) */
    int threads;    /* of the parallel region, at least 1 */
    uint32_t lacks; /* bits as above */
} Device;

/* name: "cpu", "auto" (cpu), "ref" or "ref64". threads 0: as many as processors. false after error_set(). */
bool device_open(const char *name, int threads, Device *device);

/* "cpu (avx512, 2 threads)" and the like; text of a static buffer per thread. */
const char *device_describe(const Device *device);

/* Bytes of one element. */
size_t device_element(const Device *device, DType dtype);

#endif
