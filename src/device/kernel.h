/* What a kernel sees: tensors, a workspace, and the team of threads it shares tiles with. Kernels know nothing of the graph. */
#ifndef LACUNA_DEVICE_KERNEL_H
#define LACUNA_DEVICE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus /* cuda.cu files are C++ */
extern "C" {
#endif

/* Type of the elements of a value. REAL values are f32, and f64 on the `ref` device when it is opened so. */
typedef enum { DTYPE_REAL, DTYPE_BF16, DTYPE_I32 } DType;

enum { SHAPE_MAX = 5 };

/* Row-major, channels last. n = 0 is a scalar. */
typedef struct {
    int n;
    int64_t d[SHAPE_MAX];
} Shape;

#ifndef __cplusplus
static inline Shape shape_0(void)
{
    return (Shape){.n = 0};
}
static inline Shape shape_1(int64_t a)
{
    return (Shape){.n = 1, .d = {a}};
}
static inline Shape shape_2(int64_t a, int64_t b)
{
    return (Shape){.n = 2, .d = {a, b}};
}
static inline Shape shape_3(int64_t a, int64_t b, int64_t c)
{
    return (Shape){.n = 3, .d = {a, b, c}};
}
static inline Shape shape_4(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (Shape){.n = 4, .d = {a, b, c, d}};
}
#endif

/* Whether no axis is negative and the elements, eight bytes each, can be counted in an int64_t. All shapes that reach a kernel
 * do. */
bool shape_fits(const Shape *s);

int64_t shape_count(const Shape *s);   /* number of elements */
int64_t shape_columns(const Shape *s); /* length of the last axis; 1 for a scalar */
int64_t shape_rows(const Shape *s);    /* count / columns */
bool shape_equal(const Shape *a, const Shape *b);

/* A value as a kernel meets it. rows x columns is the shape with all but the last axis joined. data is NULL for an input that
 * is left out. */
typedef struct {
    void *data;
    int64_t rows, columns;
    DType dtype;
    Shape shape;
} Tensor;

/* Bytes of its numbers, REAL ones counted as f32; 0 for one that is left out. For costs. */
static inline double tensor_bytes(const Tensor *t)
{
    return (t->dtype == DTYPE_BF16 ? 2.0 : 4.0) * (double)t->rows * (double)t->columns;
}

enum { CALL_IN = 12, CALL_OUT = 5 };

/* One node, bound to memory. */
typedef struct {
    Tensor in[CALL_IN], out[CALL_OUT];
    uint32_t accumulate; /* bit i: out[i] is added to; else it is overwritten */
    const void *attr;    /* the op's own, immutable */
    void *work;          /* the node's workspace, shared by the team; contents undefined at the start */
} Call;

static inline bool call_accumulates(const Call *c, int out)
{
    return c->accumulate >> out & 1;
}

/* The threads that run a program together. Each kernel is entered by all of them; device/parallel.h. */
typedef struct Team Team;
typedef struct {
    int thread, threads; /* 0..threads-1 */
    Team *team;
    uint32_t phase;
    int helped; /* how many others' shares it has gone on to in this phase */
} Worker;

/* The next of `count` tiles to work on, or a number >= count when none is left. Each thread has a share, a run of neighbouring
 * tiles, so that it finds in its own cache what it wrote in the op before; done with its own it goes on with the others'. All
 * threads ask with the same count, and tiles begin anew after every worker_sync(). A result must not depend on who computes
 * which tile. */
int64_t worker_next(Worker *w, int64_t count);

/* Waits until all of the team have come here. A kernel that is entered finds tiles at 0 and need not sync at its end. */
void worker_sync(Worker *w);

typedef void (*Kernel)(const Call *call, Worker *worker);

/* On a GPU a kernel is a function of the host that puts its work into a stream (device/cuda/stream.h); the call's data and
 * workspace lie in the GPU's memory. False after error_set(). */
typedef struct CudaStream CudaStream;
typedef bool (*CudaKernel)(const Call *call, CudaStream *stream);

#ifdef __cplusplus
}
#endif

#endif
