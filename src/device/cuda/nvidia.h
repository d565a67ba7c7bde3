/* What NVIDIA's libraries that are loaded at run time give to the table of runtime.h: products by cuBLASLt, when a GPU is
 * opened; sums over GPUs by NCCL, when there are several. */
#ifndef LACUNA_DEVICE_CUDA_NVIDIA_H
#define LACUNA_DEVICE_CUDA_NVIDIA_H

#include "device/cuda/runtime.h"

bool nvidia_products_open(void **products);
void nvidia_products_close(void *products);
uint64_t nvidia_products_version(void *products);
bool nvidia_product_describe(void *products, const CudaProductKind *kind, void **described);
void nvidia_product_forget(void *products, void *described);
bool nvidia_product_propose(void *products, void *described, const void *bias, int most, CudaAlgorithm *ways, int *count);
bool nvidia_product(void *products, void *described, const CudaAlgorithm *way, const CudaProduct *product, void *stream);

bool nvidia_sums_open(void **sums);
void nvidia_sums_close(void *sums, bool together);
int nvidia_sums_version(void *sums);
bool nvidia_sums_name(void *sums, unsigned char *name);
bool nvidia_sums_join(void *sums, const unsigned char *name, int rank, int count);
bool nvidia_sum(void *sums, float *data, size_t count, void *stream);

#endif
