/* What the host function of a room's cuda.cu sees of the GPU. C and C++ read this header; it needs nothing of the CUDA toolkit.
 *
 *     extern "C" bool CUDA(add)(const Call *c, CudaStream *s)
 *     {
 *         add_kernel<<<blocks, threads, 0, (cudaStream_t)s->handle>>>(...);
 *         return cuda_launched(s, "add");
 *     }
 *
 * Such a function only puts work into the stream: it may be called while a graph is captured, so it allocates nothing on the
 * GPU, waits for nothing and reads nothing of the GPU's memory. What it needs beyond the call's tensors is the workspace that
 * op->workspace() asked for (device->kind == DEVICE_CUDA), which is `call->work`. */
#ifndef LACUNA_DEVICE_CUDA_STREAM_H
#define LACUNA_DEVICE_CUDA_STREAM_H

#include "device/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA(name) name##_cuda

typedef struct {
    int capability;      /* 90: compute capability 9.0; 0 in the lock-step build, which has no tensor cores */
    int multiprocessors; /* at least 1 */
    int64_t shared_most; /* bytes of shared memory that a block may have when the kernel opts in */
    bool tf32;           /* factors of f32 products may be rounded to TF32 */
} CudaFeatures;

typedef struct CudaDevice CudaDevice;

struct CudaStream {
    void *handle; /* a cudaStream_t */
    CudaFeatures features;
    CudaDevice *device; /* of the device layer */
};

/* To be returned behind the launches of a kernel: whether they were accepted. False after error_set(), naming the op. */
bool cuda_launched(CudaStream *stream, const char *op);

/* Bytes of workspace that cuda_product() is given at best: part of what op->workspace() asks for. Less, also none, is allowed.
 */
enum { CUDA_PRODUCT_WORK = 32 << 20 };

/* C = op(A) op(B), or C += with accumulate; all row-major. A is rows x inner, or with a_turned stored as inner x rows; B is
 * inner x columns, or with b_turned stored as columns x inner; C is rows x columns. Strides: elements from one stored row to
 * the next. Sums are f32. The result depends on the shapes, the GPU and its libraries
 * only, and with products that are timed (products.h) on which algorithm was the fastest. */
typedef struct {
    int64_t rows, columns, inner;
    const void *a, *b;
    void *c;
    int64_t a_stride, b_stride, c_stride;
    bool a_turned, b_turned, accumulate;
    DType type;           /* of A and B: DTYPE_REAL or DTYPE_BF16 */
    DType c_type;         /* of C: DTYPE_REAL, or with A and B of bf16 also DTYPE_BF16 */
    const void *bias;     /* `columns` numbers of c_type added to each row, or NULL; not with accumulate */
    const void *residual; /* added too, laid out and typed as C, or NULL; not with accumulate */
    void *work;           /* of any alignment; NULL when work_bytes is 0 */
    size_t work_bytes;
} CudaProduct;

/* False after error_set(). */
bool cuda_product(CudaStream *stream, const CudaProduct *product);

#ifdef __cplusplus
}
#endif

#endif
