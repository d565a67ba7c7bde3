/* The cases of kernels_products_test.c for the GPU's kernels, which run in lock-step on the CPU. */
#define KERNELS_ON_GPU
#include "ops/kernels_products_test.c"
