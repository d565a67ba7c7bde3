/* Fast kernels of single ops called directly, at sizes of several tiles that do not divide, with inputs and outputs left out,
 * adding or in place: against the reference in f64, and the same bits from any number of threads. With KERNELS_ON_GPU defined
 * the GPU's kernels, which run in lock-step on the CPU, in two orders of threads. Include behind cmocka.h. */
#ifndef LACUNA_OPS_KERNELS_CASE_H
#define LACUNA_OPS_KERNELS_CASE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "device/parallel.h"
#ifdef KERNELS_ON_GPU
#include "device/cuda/cuda.h"
#include "device/cuda/lockstep_control.h"
#endif
#include "ops/bf16.h"
#include "ops/ops.h"

enum { INS = 10, OUTS = 4, GUARD = 32 /* elements after each output that must stay */ };

typedef enum {
    NONE,   /* left out */
    NORMAL, /* random numbers */
    ABOVE,  /* |random numbers| */
    ZERO_ONE,
    GIVEN, /* numbers of `given` */
    INDEX  /* I32 of `index`; of an output with none */
} Filling;

typedef struct {
    Filling filling;
    Shape shape;
    const double *given;
    const int32_t *index;
    bool bf16; /* of floats */
} Argument;

typedef struct {
    const char *op;
    const void *attr;
    Argument in[INS], out[OUTS]; /* of outputs, `filling` counts where they are added to */
    uint32_t accumulate;
    bool in_place; /* out 0 lies on in 0 */
    double spread; /* bf16 is multiplied on the way: the error's root mean square against the result's may be so large; 0: as
                      exact as f32 */
} Case;

static inline const Op *find_op(const char *name)
{
    for (int i = 0; ops_at(i); i++)
        if (!strcmp(ops_at(i)->name, name))
            return ops_at(i);
    fail_msg("there is no op %s", name);
    return NULL;
}

static inline Tensor tensor(const Argument *a)
{
    if (a->filling == NONE)
        return (Tensor){0};
    return (Tensor){.rows = shape_rows(&a->shape),
                    .columns = shape_columns(&a->shape),
                    .dtype = a->filling == INDEX ? DTYPE_I32
                             : a->bf16           ? DTYPE_BF16
                                                 : DTYPE_REAL,
                    .shape = a->shape};
}

/* Random numbers made once; an argument takes them from a place of its own on. */
enum { POOL = 1 << 16 };
static float pool[POOL];

static inline int make_pool(void **state)
{
    (void)state;
    Random random = random_stream(17, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < POOL; i++)
        pool[i] = (float)random_normal(&random);
    return 0;
}

static inline double number(const Argument *a, int64_t i, uint64_t stream)
{
    double x = pool[((uint64_t)i + 7919 * stream) % POOL];
    switch (a->filling) {
    case ABOVE:
        return fabs(x) + 0.1;
    case ZERO_ONE:
        return x > 0;
    case GIVEN:
        return a->given[i];
    default:
        return x;
    }
}

/* The argument's numbers in f32 or f64, then the guard. */
static inline void *fill(const Argument *a, uint64_t stream, bool f64)
{
    int64_t count = shape_count(&a->shape);
    void *data = memory_new_aligned((size_t)count + GUARD, 8);
    assert_non_null(data);
    for (int64_t i = 0; i < count + GUARD; i++) {
        if (a->filling == INDEX) {
            ((int32_t *)data)[i] = i >= count ? 12345 : a->index ? a->index[i] : -7;
            continue;
        }
        double x = i < count ? number(a, i, stream) : 12345;
        if (a->bf16)
            ((uint16_t *)data)[i] = bf16_from_float((float)x);
        else if (f64)
            ((double *)data)[i] = x;
        else
            ((float *)data)[i] = (float)x;
    }
    return data;
}

typedef struct {
    Call call;
    void *data[INS + OUTS];
} Run;

#ifdef KERNELS_ON_GPU
static CudaDevice *gpu;

static bool went_well;

static inline void run_in_lockstep(const Op *op, const Call *call)
{
    if (!gpu && !(gpu = cuda_open(0, false)))
        fail_msg("%s", error_text());
    if (!op->cuda)
        fail_msg("%s has no kernel for GPUs", op->name);
    bool accepted = op->cuda(call, cuda_stream(gpu));
    went_well = lockstep_ok() && accepted;
}
#endif

static inline void run_open(Run *r, const Case *k, const Device *device)
{
    const Op *op = find_op(k->op);
    bool f64 = device->kind == DEVICE_REF;
    *r = (Run){.call = {.attr = k->attr, .accumulate = k->accumulate}};
    for (int i = 0; i < INS; i++)
        r->call.in[i] = tensor(&k->in[i]);
    for (int i = 0; i < OUTS; i++)
        r->call.out[i] = tensor(&k->out[i]);
    for (int i = 0; i < INS; i++)
        if (k->in[i].filling != NONE)
            r->call.in[i].data = r->data[i] = fill(&k->in[i], (uint64_t)i, f64);
    for (int i = 0; i < OUTS; i++)
        if (k->out[i].filling != NONE && i == 0 && k->in_place)
            r->call.out[0].data = r->call.in[0].data;
        else if (k->out[i].filling != NONE)
            r->call.out[i].data = r->data[INS + i] = fill(&k->out[i], 100 + (uint64_t)i, f64);
    /* Contents of a workspace are undefined: here they are NaN. */
    size_t work = op->workspace ? op->workspace(&r->call, device) : 0;
    r->call.work = memory_new_aligned(work, 1);
    assert_non_null(r->call.work);
    memset(r->call.work, 0xff, work);
#ifdef KERNELS_ON_GPU
    if (device->kind == DEVICE_CUDA) {
        run_in_lockstep(op, &r->call);
        return;
    }
#endif
    Step step = {.kernel = device->kind == DEVICE_REF ? op->ref[1] : op->cpu[device->level],
                 .call = &r->call,
                 .serial = device->kind == DEVICE_REF};
    assert_true(step.kernel != NULL);
    parallel_run(&step, 1, device->threads, NULL);
}

static inline void run_close(Run *r)
{
    for (int i = 0; i < INS + OUTS; i++)
        memory_free(r->data[i]);
    memory_free(r->call.work);
}

/* Sums that are rounded to 8 bits may fall to the other side, but seldom; sums that cancel have larger terms. */
static inline void compare_bf16(const char *what, const uint16_t *got, const uint16_t *expect, int64_t count)
{
    int64_t differ = 0;
    for (int64_t i = 0; i < count; i++) {
        float a = bf16_to_float(got[i]), b = bf16_to_float(expect[i]);
        differ += got[i] != expect[i];
        if (got[i] != expect[i] && !(fabsf(a - b) <= 0.008f * fabsf(b) + 1e-4f))
            fail_msg("%s: element %lld is %g and not %g", what, (long long)i, (double)a, (double)b);
    }
    if (differ > 1 + count / 100)
        fail_msg("%s: %lld of %lld elements are rounded otherwise", what, (long long)differ, (long long)count);
    for (int64_t i = count; i < count + GUARD; i++)
        if (got[i] != bf16_from_float(12345))
            fail_msg("%s: wrote %lld elements past its end", what, (long long)(i - count + 1));
}

static inline void compare_spread(const char *what, const Argument *a, const void *got, const void *expect, double most)
{
    double square = 0, wrong = 0;
    for (int64_t i = 0; i < shape_count(&a->shape) + GUARD; i++) {
        double x = a->bf16 ? (double)bf16_to_float(((const uint16_t *)got)[i]) : (double)((const float *)got)[i];
        double y = a->bf16 ? (double)bf16_to_float(((const uint16_t *)expect)[i]) : ((const double *)expect)[i];
        square += i < shape_count(&a->shape) ? y * y : 0;
        wrong += (x - y) * (x - y);
    }
    if (!(wrong <= most * most * square)) /* also what was written past the end */
        fail_msg("%s: off by %g", what, sqrt(wrong / square));
}

static inline void compare(const char *what, const float *got, const double *expect, int64_t count)
{
    double square = 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(expect[i]))
            square += expect[i] * expect[i];
    double size = sqrt(square / (double)(count ? count : 1)) + 1e-30;
    for (int64_t i = 0; i < count; i++) {
        if (isnan(expect[i]) ? isnan(got[i]) : fabs(got[i] - expect[i]) <= 3e-6 * size + 2e-6 * fabs(expect[i]))
            continue;
        if ((float)expect[i] == got[i])
            continue;
        fail_msg("%s: element %lld is %g and not %g (size %g)", what, (long long)i, (double)got[i], expect[i], size);
    }
    for (int64_t i = count; i < count + GUARD; i++)
        if (got[i] != 12345)
            fail_msg("%s: wrote %lld elements past its end", what, (long long)(i - count + 1));
}

static inline void compare_whole(const char *what, const int32_t *got, const int32_t *expect, int64_t count)
{
    for (int64_t i = 0; i < count + GUARD; i++)
        if (got[i] != expect[i])
            fail_msg("%s: element %lld is %d and not %d", what, (long long)i, got[i], expect[i]);
}

static inline void compare_outputs(const Case *k, const Run *run, const Run *expect, const char *on)
{
    for (int i = 0; i < OUTS; i++) {
        if (k->out[i].filling == NONE)
            continue;
        char what[96];
        snprintf(what, sizeof what, "%s (%s), %lld x %lld, output %d", k->op, on, (long long)run->call.out[i].rows,
                 (long long)run->call.out[i].columns, i);
        if (k->spread > 0)
            compare_spread(what, &k->out[i], run->call.out[i].data, expect->call.out[i].data, k->spread);
        else if (k->out[i].filling == INDEX)
            compare_whole(what, run->call.out[i].data, expect->call.out[i].data, shape_count(&k->out[i].shape));
        else if (k->out[i].bf16)
            compare_bf16(what, run->call.out[i].data, expect->call.out[i].data, shape_count(&k->out[i].shape));
        else
            compare(what, run->call.out[i].data, expect->call.out[i].data, shape_count(&k->out[i].shape));
    }
}

static inline size_t output_bytes(const Case *k, int out)
{
    return (size_t)shape_count(&k->out[out].shape) * (k->out[out].bf16 ? sizeof(uint16_t) : sizeof(float));
}

static inline void same_bits(const Case *k, const Run *a, const Run *b)
{
    for (int i = 0; i < OUTS; i++)
        if (k->out[i].filling != NONE)
            assert_memory_equal(a->call.out[i].data, b->call.out[i].data, output_bytes(k, i));
}

#ifdef KERNELS_ON_GPU
/* A result that depends on the order in which threads run lacks a barrier. */
static inline void check_case(const Case *k)
{
    static const Device device = {.kind = DEVICE_CUDA, .threads = 1};
    Run expect, first, other;
    run_open(&expect, k, &(Device){.kind = DEVICE_REF, .f64 = true, .threads = 1});
    lockstep_set_order(LOCKSTEP_FORWARD);
    run_open(&first, k, &device);
    if (!went_well)
        fail_msg("%s: %s", k->op, error_text());
    compare_outputs(k, &first, &expect, "lock-step");
    lockstep_set_order(LOCKSTEP_REVERSE);
    run_open(&other, k, &device);
    if (!went_well)
        fail_msg("%s: %s", k->op, error_text());
    same_bits(k, &first, &other);
    run_close(&other);
    run_close(&first);
    run_close(&expect);
}
#else
static inline void check_case(const Case *k)
{
    CpuLevel best;
    assert_true(cpu_level(&best));
    Run expect;
    run_open(&expect, k, &(Device){.kind = DEVICE_REF, .f64 = true, .threads = 1});
    for (int level = CPU_WIDE; level <= (int)best; level++) {
        Run one;
        run_open(&one, k, &(Device){.kind = DEVICE_CPU, .level = (CpuLevel)level, .threads = 1});
        compare_outputs(k, &one, &expect, cpu_level_name((CpuLevel)level));
        for (int threads = 2; threads <= 4; threads++) {
            Run many;
            run_open(&many, k, &(Device){.kind = DEVICE_CPU, .level = (CpuLevel)level, .threads = threads});
            same_bits(k, &one, &many);
            run_close(&many);
        }
        run_close(&one);
    }
    run_close(&expect);
}

#endif

static inline Argument argument(Filling filling, Shape shape)
{
    return (Argument){.filling = filling, .shape = shape};
}

#endif
