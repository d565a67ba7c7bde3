/* ON_GPU marks a small function of a header that kernels of a GPU call too. */
#ifndef LACUNA_OPS_ON_GPU_H
#define LACUNA_OPS_ON_GPU_H

#ifdef __CUDACC__
#define ON_GPU __host__ __device__
#else
#define ON_GPU
#endif

#endif
