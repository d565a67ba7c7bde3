/* Products by cuBLASLt, which is loaded when a GPU is opened. As in the table of runtime.h. */
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

#endif
