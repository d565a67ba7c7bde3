// What lacuna's kernels ask of nvcc and its C++ compiler; see cuda.cmake.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

template <int N> static __global__ void probe_kernel(float *to)
{
    extern __shared__ float shared[];
    shared[threadIdx.x] = __bfloat162float(__float2bfloat16_rn((float)N));
    __syncthreads();
    to[threadIdx.x] = shared[0];
}

extern "C" bool probe(float *to, cudaStream_t stream)
{
    auto with = []<class T>(T n, auto launch) { launch(std::integral_constant<int, 2 * T::value>{}, n); };
    with(std::integral_constant<int, 2>{},
         [&](auto n, auto) { probe_kernel<n.value><<<1, 32, 32 * sizeof(float), stream>>>(to); });
    return cudaGetLastError() == cudaSuccess;
}
