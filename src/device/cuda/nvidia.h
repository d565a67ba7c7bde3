/* Products by cuBLASLt, which is loaded when a GPU is opened. As in the table of runtime.h. */
#ifndef LACUNA_DEVICE_CUDA_NVIDIA_H
#define LACUNA_DEVICE_CUDA_NVIDIA_H

#include "device/cuda/runtime.h"

bool nvidia_products_open(void **products);
void nvidia_products_close(void *products);
bool nvidia_product(void *products, const CudaStream *stream, const CudaProduct *product);

#endif
