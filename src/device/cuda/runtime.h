/* The calls of NVIDIA's libraries that the device layer makes, behind one table. nvidia.c fills it from the CUDA runtime and
 * cuBLASLt; for tests, fake.c does the same on the memory of the host. Which of them is linked decides; without either
 * cuda_runtime is NULL.
 *
 * Unless said otherwise a call returns 0, or an error of the runtime whose words error_text() gives. `stream`, `event` and
 * `graph` are handles of the runtime. */
#ifndef LACUNA_DEVICE_CUDA_RUNTIME_H
#define LACUNA_DEVICE_CUDA_RUNTIME_H

#include "device/cuda/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char name[128];
    int capability; /* 90: 9.0; 0: no GPU but the lock-step build */
    int multiprocessors;
    int64_t shared_most; /* bytes of shared memory that a block can opt in to */
    int64_t memory;      /* bytes */
} CudaProperties;

/* What went wrong, as far as the device layer treats errors differently. */
typedef enum { CUDA_FAULT_OTHER, CUDA_FAULT_MEMORY, CUDA_FAULT_NO_DRIVER, CUDA_FAULT_NO_DEVICE, CUDA_FAULT_LOST } CudaFault;

/* What decides how fast a product is computed in which way, and what comes out. Compared as bytes, so it is cleared before it
 * is filled. Strides, types and turns as in CudaProduct; alignments in bytes. */
typedef struct {
    int64_t rows, columns, inner, a_stride, b_stride, c_stride, work; /* work: bytes of workspace */
    int32_t type, c_type, a_turned, b_turned, adds, biased, tf32, a_align, b_align, c_align, bias_align, zero;
} CudaProductKind;

/* One way to compute a product, as its library writes it down: it means something to the same version of it alone. */
enum { CUDA_ALGORITHM_WORDS = 8 };
typedef struct {
    uint64_t words[CUDA_ALGORITHM_WORDS];
} CudaAlgorithm;

/* Whose kernels begin first where those of several streams could. */
typedef enum { CUDA_TURN_LAST, CUDA_TURN_MIDDLE, CUDA_TURN_FIRST } CudaTurn;

enum { CUDA_SUMS_NAME = 128 }; /* bytes of the name of a group of GPUs */

typedef struct {
    const char *(*error_text)(int error);
    CudaFault (*fault)(int error);

    int (*device_count)(int *count);
    int (*device_properties)(int index, CudaProperties *properties);
    int (*device_use)(int index); /* by the calling thread, from now on */
    int (*memory_left)(int64_t *bytes);
    int (*versions)(int *driver, int *runtime); /* 13000: 13.0; driver 0: none */

    int (*allocate)(void **at, size_t bytes);
    int (*release)(void *at);
    int (*allocate_pinned)(void **at, size_t bytes); /* memory of the host that copies can read while the host goes on */
    int (*release_pinned)(void *at);

    int (*stream_new)(void **stream, CudaTurn turn);
    int (*stream_free)(void *stream);
    int (*stream_wait)(void *stream);                /* the host, until all of the stream is done */
    int (*stream_follow)(void *stream, void *event); /* what comes next waits for the event */
    int (*event_new)(void **event, bool timed);
    int (*event_free)(void *event);
    int (*event_record)(void *event, void *stream);
    int (*event_wait)(void *event);                              /* the host */
    int (*event_seconds)(void *from, void *to, double *seconds); /* of timed events that have been waited for */

    int (*copy)(void *to, const void *from, size_t bytes, void *stream); /* host and GPU, either way */
    int (*clear)(void *at, size_t bytes, void *stream);                  /* to zeros */

    int (*capture_begin)(void *stream);
    int (*capture_end)(void *stream, void **graph); /* ready to launch; *graph NULL when the capture had failed */
    int (*graph_launch)(void *graph, void *stream);
    int (*graph_free)(void *graph);

    int (*last_error)(void); /* of kernels launched by this thread; forgets it */

    /* The library of products, with a handle of its own; used by products.c. False after error_set().
     * product_describe: what the other calls need to know of a kind; to be given back before the library is closed.
     * product_propose: at most `most` ways to compute it, and at least one; the one that it holds for the fastest first. */
    bool (*products_open)(void **products);
    void (*products_close)(void *products);
    uint64_t (*products_version)(void *products);
    bool (*product_describe)(void *products, const CudaProductKind *kind, void **described);
    void (*product_forget)(void *products, void *described);
    bool (*product_propose)(void *products, void *described, const void *bias, int most, CudaAlgorithm *ways, int *count);
    bool (*product)(void *products, void *described, const CudaAlgorithm *way, const CudaProduct *product, void *stream);

    /* Sums over the GPUs of several processes; used by sums.c, whose words hold here too. `name` has CUDA_SUMS_NAME bytes.
     * False after error_set(). */
    bool (*sums_open)(void **sums);
    void (*sums_close)(void *sums, bool together);
    int (*sums_version)(void *sums);
    bool (*sums_name)(void *sums, unsigned char *name);
    bool (*sums_join)(void *sums, const unsigned char *name, int rank, int count);
    bool (*sum)(void *sums, float *data, size_t count, void *stream);
} CudaRuntime;

/* Weak here, so that its address tells whether one is linked; those who define it leave the word out. */
#ifndef LACUNA_CUDA_RUNTIME_HERE
const CudaRuntime *cuda_runtime(void) __attribute__((weak));
#else
const CudaRuntime *cuda_runtime(void);
#endif

#ifdef __cplusplus
}
#endif

#endif
