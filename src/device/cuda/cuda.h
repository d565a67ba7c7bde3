/* One opened GPU: its memory, copies, captured graphs, and errors a person can act on. The rest of the program reaches it
 * through device/device.h and graph/program.h. One thread at a time uses a CudaDevice. */
#ifndef LACUNA_DEVICE_CUDA_CUDA_H
#define LACUNA_DEVICE_CUDA_CUDA_H

#include "device/cuda/runtime.h"

/* Opens GPU `index`. tf32: CudaFeatures. NULL after error_set(): built without CUDA, no driver, no such GPU; the sentence says
 * what to do. */
CudaDevice *cuda_open(int index, bool tf32);

/* Waits for what is running. NULL is allowed. All memory and graphs must have been given back. */
void cuda_close(CudaDevice *d);

/* GPUs that could be opened; 0 without CUDA, driver or GPU. Sets no error. */
int cuda_count(void);

/* False after error_set(). */
bool cuda_properties(int index, CudaProperties *properties);

const CudaProperties *cuda_device_properties(const CudaDevice *d);

/* The products of its stream (products.h). */
typedef struct CudaProducts CudaProducts;
CudaProducts *cuda_products(CudaDevice *d);

/* Where kernels are put. */
CudaStream *cuda_stream(CudaDevice *d);

/* Bytes that could be allocated now. False after error_set(). */
bool cuda_memory_left(CudaDevice *d, int64_t *bytes);

/* Zeroed memory of the GPU, aligned to 256 bytes. NULL after error_set(); when memory is out it names what was asked for and
 * what is left. */
void *cuda_memory_new(CudaDevice *d, size_t bytes);
void cuda_memory_free(CudaDevice *d, void *at);

/* Host memory that can be uploaded while the host goes on; zeroed. */
void *cuda_pinned_new(CudaDevice *d, size_t bytes);
void cuda_pinned_free(CudaDevice *d, void *at);

/* Copies behind all that was put into the stream before, and waits. False after error_set(). */
bool cuda_write(CudaDevice *d, void *to, const void *from, size_t bytes);
bool cuda_read(CudaDevice *d, const void *from, void *to, size_t bytes);

/* Waits for all of the stream. False after error_set(): something that ran since failed. */
bool cuda_wait(CudaDevice *d);

/* What the GPU does a second, measured: floating-point operations of large products of f32 (TF32 where it is allowed) and bf16,
 * and bytes read and written of its memory. False after error_set(). */
bool cuda_peak(CudaDevice *d, double *flops, double *bf16_flops, double *bytes);

const CudaRuntime *cuda_device_runtime(const CudaDevice *d);

/* False after error_set() with what the runtime says, and advice when the GPU is lost or its memory is out. */
bool cuda_check(const CudaDevice *d, int error, const char *what);

#endif
