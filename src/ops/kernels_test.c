/* Fast kernels of single ops called directly, at sizes of several tiles that do not divide, with inputs and outputs left out,
 * adding or in place: against the reference in f64, and the same bits from any number of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "device/parallel.h"
#ifdef KERNELS_ON_GPU
#include "device/cuda/cuda.h"
#include "device/cuda/lockstep_control.h"
#endif
#include "ops/activation/activation.h"
#include "ops/adamw/attr.h"
#include "ops/attention/slots.h"
#include "ops/batch_norm/attr.h"
#include "ops/bf16.h"
#include "ops/check.h"
#include "ops/distance/attr.h"
#include "ops/fill/attr.h"
#include "ops/grad_norm/attr.h"
#include "ops/hog/attr.h"
#include "ops/lars/attr.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/slots.h"
#include "ops/ops.h"
#include "ops/patches/attr.h"
#include "ops/relative_bias/attr.h"
#include "ops/weighted_sum/attr.h"
#include "ops/window/attr.h"

enum { INS = 9, OUTS = 3, GUARD = 32 /* elements after each output that must stay */ };

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
    bool bf16; /* of NORMAL */
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

static const Op *find_op(const char *name)
{
    for (int i = 0; ops_at(i); i++)
        if (!strcmp(ops_at(i)->name, name))
            return ops_at(i);
    fail_msg("there is no op %s", name);
    return NULL;
}

static Tensor tensor(const Argument *a)
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

static int make_pool(void **state)
{
    (void)state;
    Random random = random_stream(17, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < POOL; i++)
        pool[i] = (float)random_normal(&random);
    return 0;
}

static double number(const Argument *a, int64_t i, uint64_t stream)
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
static void *fill(const Argument *a, uint64_t stream, bool f64)
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

static void run_in_lockstep(const Op *op, const Call *call)
{
    if (!gpu && !(gpu = cuda_open(0, false)))
        fail_msg("%s", error_text());
    if (!op->cuda)
        fail_msg("%s has no kernel for GPUs", op->name);
    bool accepted = op->cuda(call, cuda_stream(gpu));
    went_well = lockstep_ok() && accepted;
}
#endif

static void run_open(Run *r, const Case *k, const Device *device)
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

static void run_close(Run *r)
{
    for (int i = 0; i < INS + OUTS; i++)
        memory_free(r->data[i]);
    memory_free(r->call.work);
}

/* Sums that are rounded to 8 bits may fall to the other side, but seldom; sums that cancel have larger terms. */
static void compare_bf16(const char *what, const uint16_t *got, const uint16_t *expect, int64_t count)
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

static void compare_spread(const char *what, const Argument *a, const void *got, const void *expect, double most)
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

static void compare(const char *what, const float *got, const double *expect, int64_t count)
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

static void compare_whole(const char *what, const int32_t *got, const int32_t *expect, int64_t count)
{
    for (int64_t i = 0; i < count + GUARD; i++)
        if (got[i] != expect[i])
            fail_msg("%s: element %lld is %d and not %d", what, (long long)i, got[i], expect[i]);
}

static void compare_outputs(const Case *k, const Run *run, const Run *expect, const char *on)
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

static size_t output_bytes(const Case *k, int out)
{
    return (size_t)shape_count(&k->out[out].shape) * (k->out[out].bf16 ? sizeof(uint16_t) : sizeof(float));
}

static void same_bits(const Case *k, const Run *a, const Run *b)
{
    for (int i = 0; i < OUTS; i++)
        if (k->out[i].filling != NONE)
            assert_memory_equal(a->call.out[i].data, b->call.out[i].data, output_bytes(k, i));
}

#ifdef KERNELS_ON_GPU
/* A result that depends on the order in which threads run lacks a barrier. */
static void check_case(const Case *k)
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
static void check_case(const Case *k)
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

/* ---- shapes: less than a vector, than a tile, several tiles */

static const int sizes[][2] = {{1, 1}, {5, 3}, {3, 7}, {129, 27}, {700, 48}, {1201, 13}, {67, 385}, {2, 9001}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static Argument argument(Filling filling, Shape shape)
{
    return (Argument){.filling = filling, .shape = shape};
}

static void elementwise(void **state)
{
    (void)state;
    for (int s = 0; s < SIZES; s++) {
        Argument x = argument(NORMAL, shape_2(sizes[s][0], sizes[s][1]));
        check_case(&(Case){.op = "add", .in = {x, x}, .out = {x}});
        check_case(&(Case){.op = "add", .in = {x, x}, .out = {x}, .in_place = true});
        check_case(&(Case){.op = "add_to", .in = {x}, .out = {x}});
        check_case(&(Case){.op = "add_to", .in = {x}, .out = {x}, .accumulate = 1});
        for (int kind = ACTIVATION_NONE; kind <= ACTIVATION_QUICK_GELU; kind++) {
            ActivationAttr attr = {(Activation)kind};
            check_case(&(Case){.op = "activation", .attr = &attr, .in = {x}, .out = {x}, .in_place = s % 2});
            check_case(&(Case){.op = "activation_grad", .attr = &attr, .in = {x, x}, .out = {x}, .in_place = s % 2});
            check_case(&(Case){.op = "activation_grad", .attr = &attr, .in = {x, x}, .out = {x}, .accumulate = 1});
        }
    }
}

static void scale_add_of_every_form(void **state)
{
    (void)state;
    for (int s = 0; s < SIZES; s++)
        for (int with = 0; with < 8; with++) {
            int64_t rows = sizes[s][0], n = sizes[s][1], groups = rows % 3 ? 1 : 3;
            Argument x = argument(NORMAL, shape_2(rows, n));
            check_case(&(Case){.op = "scale_add",
                               .in = {x, argument(with & 1 ? NORMAL : NONE, shape_1(n)),
                                      argument(with & 2 ? NORMAL : NONE, shape_1(groups)),
                                      argument(with & 4 ? NORMAL : NONE, x.shape)},
                               .out = {x},
                               .in_place = s % 2});
        }
}

static void rows_are_normalised(void **state)
{
    (void)state;
    LayerNormAttr attr = {1e-3};
    for (int s = 0; s < SIZES; s++) {
        int64_t rows = sizes[s][0], n = sizes[s][1];
        Argument x = argument(NORMAL, shape_2(rows, n)), vector = argument(NORMAL, shape_1(n)),
                 stats = argument(ABOVE, shape_2(rows, 2));
        for (int with = 0; with < 2; with++)
            check_case(&(Case){.op = "layer_norm",
                               .attr = &attr,
                               .in = {x, vector, vector},
                               .out = {x, argument(with ? NORMAL : NONE, stats.shape)}});
        /* Of one column dx is 0 but for rounding, which compares badly. */
        for (int with = n > 1 ? 1 : 2; with<8; with += n> 1 ? 1 : 2)
            for (uint32_t accumulate = 0; accumulate < 8; accumulate++)
                if (s < 4 || accumulate == 0 || accumulate == 7)
                    check_case(&(Case){.op = "layer_norm_grad",
                                       .attr = &attr,
                                       .in = {x, x, stats, vector},
                                       .out = {argument(with & 1 ? NORMAL : NONE, x.shape),
                                               argument(with & 2 ? NORMAL : NONE, vector.shape),
                                               argument(with & 4 ? NORMAL : NONE, vector.shape)},
                                       .accumulate = accumulate,
                                       .in_place = (with & 1) && !(accumulate & 1)});
        if (n > 1)
            check_case(&(Case){.op = "standardise", .in = {x}, .out = {x}, .in_place = s % 2});
    }
}

/* The first of the largest, also where much is equal. */
static void largest_columns(void **state)
{
    (void)state;
    for (int s = 0; s < SIZES; s++)
        for (int with = 0; with < 2; with++) {
            Shape shape = shape_2(sizes[s][0], sizes[s][1]);
            Argument weight = argument(with ? ZERO_ONE : NONE, shape_1(sizes[s][0])),
                     column = argument(INDEX, shape_1(sizes[s][0]));
            check_case(&(Case){.op = "argmax", .in = {argument(NORMAL, shape), weight}, .out = {column}});
            check_case(&(Case){.op = "argmax", .in = {argument(ZERO_ONE, shape), weight}, .out = {column}});
        }
}

static void distances(void **state)
{
    (void)state;
    static const double scale = 0.37, dloss = -1.3;
    for (int s = 0; s < SIZES; s++)
        for (int kind = DISTANCE_L2; kind <= DISTANCE_SMOOTH_L1; kind++)
            for (int with = 0; with < 2; with++) {
                DistanceAttr attr = {(DistanceKind)kind, 0.7};
                Argument x = argument(NORMAL, shape_2(sizes[s][0], sizes[s][1])),
                         weight = argument(with ? ZERO_ONE : NONE, shape_1(sizes[s][0])),
                         one = {.filling = GIVEN, .given = &scale}, other = {.filling = GIVEN, .given = &dloss},
                         loss = argument(NORMAL, shape_0());
                check_case(&(Case){.op = "distance", .attr = &attr, .in = {x, x, weight, one}, .out = {loss}});
                Case gradient = {.op = "distance_grad", .attr = &attr, .in = {x, x, weight, one, other}, .out = {x}};
                check_case(&gradient);
                gradient.accumulate = 1;
                check_case(&gradient);
                gradient.accumulate = 0;
                gradient.in_place = true;
                check_case(&gradient);
            }
}

/* Sequences of `length` of a class token, mask tokens and rows of x in an irregular order. */
static void gathers(void **state)
{
    (void)state;
    static const struct {
        int sequences, length, columns, tokens, table;
    } cases[] = {{1, 3, 1, 1, 3},       {3, 5, 7, 2, 5},     {40, 17, 67, 2, 17},
                 {19, 65, 192, 1, 130}, {31, 40, 33, 20, 1}, {64, 19, 300, 17, 5}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int64_t rows = cases[k].sequences * cases[k].length, n = cases[k].columns, tokens = cases[k].tokens,
                table = cases[k].table, kept = 0;
        int32_t *index = memory_new((size_t)rows, sizeof *index), *inverse = memory_new((size_t)rows, sizeof *inverse),
                *place = memory_new((size_t)rows, sizeof *place);
        assert_true(index && inverse && place);
        Random random = random_stream(23, RANDOM_TEST, 0, 0, k);
        for (int64_t row = 0; row < rows; row++) {
            inverse[row] = -1;
            place[row] = (int32_t)random_below(&random, (uint32_t)table);
            index[row] = -1 - (int32_t)random_below(&random, (uint32_t)tokens);
        }
        /* Some rows of x are read by none. */
        for (int64_t row = 0; row < rows; row++)
            if (row % cases[k].length && random_below(&random, 3) == 0) {
                index[row] = (int32_t)kept;
                inverse[kept] = (int32_t)row;
                kept += 1 + random_below(&random, 2);
                kept = kept < rows ? kept : rows - 1;
            }
        kept += kept == 0;
        for (int with = 0; with < 4; with++) {
            Argument y = argument(NORMAL, shape_2(rows, n)), x = argument(NORMAL, shape_2(kept + 1, n)),
                     token = argument(NORMAL, shape_2(tokens, n)), positions = argument(NORMAL, shape_2(table, n)),
                     at = {.filling = INDEX, .shape = shape_1(rows), .index = index},
                     back = {.filling = INDEX, .shape = shape_1(kept + 1 < rows ? kept + 1 : rows), .index = inverse},
                     where = {.filling = with & 1 ? INDEX : NONE, .shape = shape_1(rows), .index = place};
            x.shape.d[0] = back.shape.d[0];
            if (!(with & 2))
                positions.filling = NONE;
            check_case(&(Case){.op = "gather", .in = {x, at, token, positions, where}, .out = {y}});
            for (uint32_t accumulate = 0; accumulate < 8; accumulate += 7)
                check_case(&(Case){
                    .op = "gather_grad", .in = {y, at, back, where}, .out = {x, token, positions}, .accumulate = accumulate});
            check_case(&(Case){.op = "gather_grad", .in = {y, at, back, where}, .out = {{0}, token, positions}});
            check_case(&(Case){.op = "gather_grad", .in = {y, at, back, where}, .out = {x, {0}, positions}});
            if (with)
                continue;
            y.bf16 = x.bf16 = token.bf16 = true;
            check_case(&(Case){.op = "gather", .in = {x, at, token}, .out = {y}});
            for (uint32_t accumulate = 0; accumulate < 4; accumulate += 3)
                check_case(&(Case){.op = "gather_grad", .in = {y, at, back}, .out = {x, token}, .accumulate = accumulate});
            check_case(&(Case){.op = "gather_grad", .in = {y, at, back}, .out = {{0}, token}});
        }
        /* No index: y is x plus positions. */
        Argument y = argument(NORMAL, shape_2(rows, n)), positions = argument(NORMAL, shape_2(table, n));
        check_case(&(Case){.op = "gather", .in = {y, {0}, {0}, positions}, .out = {y}});
        check_case(&(Case){.op = "gather_grad", .in = {y}, .out = {y, {0}, positions}, .accumulate = 1});
        memory_free(index);
        memory_free(inverse);
        memory_free(place);
    }
}

static void bf16_numbers(void **state)
{
    (void)state;
    static const struct {
        uint32_t bits;
        uint16_t to;
    } cases[] = {{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82},
                 {0x3f817fff, 0x3f81}, {0x80000000, 0x8000}, {0x7f7fffff, 0x7f80}, {0xff800000, 0xff80},
                 {0x7f800001, 0x7fc0}, {0xffffffff, 0xffff}, {0x00008001, 0x0001}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float x;
        memcpy(&x, &cases[i].bits, sizeof x);
        assert_int_equal(bf16_from_float(x), cases[i].to);
    }
    for (uint32_t bits = 0; bits < 1u << 16; bits++)
        if (!isnan(bf16_to_float((uint16_t)bits)))
            assert_int_equal(bf16_from_float(bf16_to_float((uint16_t)bits)), bits);
}

static void pictures_are_cut(void **state)
{
    (void)state;
    static const int cases[][5] = {{1, 1, 3, 2, 1}, {2, 3, 16, 3, 5}, {3, 3, 7, 2, 3}, {2, 3, 4, 9, 6}, {1, 4, 5, 3, 4}};
    static const int32_t some[] = {3, 0, 5, 1, 1};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int form = 0; form < 4; form++) {
            const int *s = cases[k];
            PatchesAttr attr = {s[2], form & 1 ? PATCH_CHANNEL_FIRST : PATCH_CHANNEL_LAST};
            int64_t rows = s[0] * s[3] * s[4], width = s[1] * s[2] * s[2];
            Argument index = {.shape = shape_1(5), .index = some};
            if ((form & 2) && rows > 5)
                index.filling = INDEX;
            check_case(&(Case){
                .op = "patches",
                .attr = &attr,
                .in = {argument(NORMAL, shape_4(s[0], s[1], s[3] * s[2], s[4] * s[2])), index},
                .out = {argument(NORMAL, shape_2(index.filling == INDEX ? 5 : rows, width))},
            });
        }
}

/* ---- the optimizer */

static void norms(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 3, 17, 1000, 32768, 100003};
    static const double losses[] = {0.5, NAN, INFINITY};
    static const double odd[] = {NAN, INFINITY, 1e25, -1e30, 1e-30};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
        for (int form = 0; form < 8; form++) {
            int64_t n = counts[k];
            GradNormAttr attr = {form % 2 ? 1.0 : 0.0};
            double *given = memory_new((size_t)n, sizeof *given);
            assert_non_null(given);
            Random random = random_stream(29, RANDOM_TEST, 0, 0, (uint64_t)form);
            for (int64_t i = 0; i < n; i++)
                given[i] = (float)random_normal(&random);
            if (form >= 3)
                given[n * 2 / 3] = (float)odd[form - 3];
            check_case(&(Case){.op = "grad_norm",
                               .attr = &attr,
                               .in = {{.filling = GIVEN, .shape = shape_1(n), .given = given},
                                      {.filling = GIVEN, .given = &losses[form < 3 ? form : 0]}},
                               .out = {argument(NORMAL, shape_1(STATUS_COUNT))}});
            memory_free(given);
        }
}

static void steps_of_adamw(void **state)
{
    (void)state;
    enum { N = 40000 };
    static const double inputs[] = {1e-2, 1 - 0.9 * 0.9 * 0.9, 1 - 0.95 * 0.95 * 0.95},
                        status[][STATUS_COUNT] = {{3, 0.25, 1}, {NAN, 1, 0}, {1, 1, 1}};
    /* Out of order, with gaps that must keep their values, one of them longer than two tiles, one empty. */
    static const AdamwRange ranges[] = {
        {20003, 17001, 1, 0.05}, {1, 3, 0.5, 0}, {10, 0, 1, 1}, {100, 1999, 0.75, 0.3}, {5000, 9, 1, 0}};
    AdamwAttr attr = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .ranges = ranges, .range_count = 5};
    for (int k = 0; k < 3; k++)
        for (int odd = 0; odd < 2; odd++) {
            Argument x = argument(NORMAL, shape_1(N)), v = argument(ABOVE, shape_1(N));
            double *given = memory_new(N, sizeof *given);
            assert_non_null(given);
            for (int i = 0; i < N; i++)
                given[i] = (float)(i % 7 ? 0.01 * (i % 101 - 50) : 0);
            given[25000] = odd ? NAN : 0;
            check_case(&(Case){.op = "adamw",
                               .attr = &attr,
                               .in = {{.filling = GIVEN, .shape = shape_1(N), .given = given},
                                      {.filling = GIVEN, .shape = shape_1(ADAMW_INPUTS), .given = inputs},
                                      {.filling = GIVEN, .shape = shape_1(STATUS_COUNT), .given = status[k]}},
                               .out = {x, x, v},
                               .accumulate = 7});
            memory_free(given);
        }
    check_case(&(Case){.op = "adamw",
                       .attr = &(AdamwAttr){.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8},
                       .in = {argument(NORMAL, shape_1(5)),
                              {.filling = GIVEN, .shape = shape_1(ADAMW_INPUTS), .given = inputs},
                              {.filling = GIVEN, .shape = shape_1(STATUS_COUNT), .given = status[0]}},
                       .out = {argument(NORMAL, shape_1(5)), argument(NORMAL, shape_1(5)), argument(ABOVE, shape_1(5))},
                       .accumulate = 7});
}

static void steps_of_lars(void **state)
{
    (void)state;
    enum { N = 9000 };
    static const double rate[] = {0.3};
    /* Out of order, with gaps that must keep their values; norms over several parts; biases are not scaled. */
    static const LarsRange ranges[] = {{4003, 3001, 1, 0.05, true}, {1, 3, 0.5, 0, false}, {100, 1999, 0.75, 0, true}};
    LarsAttr attr = {.keep = 0.9, .trust = 0.001, .ranges = ranges, .range_count = 3};
    Argument x = argument(NORMAL, shape_1(N)), zero = argument(ZERO_ONE, shape_1(N));
    double *nothing = memory_new(N, sizeof *nothing);
    assert_non_null(nothing);
    Argument at_rest = {.filling = GIVEN, .shape = shape_1(N), .given = nothing};
    for (int k = 0; k < 3; k++) /* k 1: weights of zero, k 2: a gradient of zero */
        check_case(&(Case){.op = "lars",
                           .attr = &attr,
                           .in = {k == 2 ? at_rest : x, {.filling = GIVEN, .given = rate}},
                           .out = {k == 1 ? at_rest : x, zero},
                           .accumulate = 3});
    memory_free(nothing);
}

static void averages_follow_weights(void **state)
{
    (void)state;
    static const double take[] = {0.01}, status[][STATUS_COUNT] = {{3, 0.25, 1}, {NAN, 1, 0}};
    static const int64_t counts[] = {5, 1024, 40000};
    for (int k = 0; k < 3; k++)
        for (int skipped = 0; skipped < 2; skipped++)
            check_case(&(Case){.op = "average",
                               .in = {argument(NORMAL, shape_1(counts[k] + 48)), /* longer than what follows it */
                                      {.filling = GIVEN, .given = take},
                                      {.filling = GIVEN, .shape = shape_1(STATUS_COUNT), .given = status[skipped]}},
                               .out = {argument(NORMAL, shape_1(counts[k]))},
                               .accumulate = 1});
}

static void hits_are_counted(void **state)
{
    (void)state;
    enum { ROWS = 131, CLASSES = 37 };
    static const double scale[] = {0.25};
    static int32_t labels[ROWS];
    static double logits[ROWS * CLASSES];
    Random random = random_stream(31, RANDOM_TEST, 0, 0, 0);
    for (int row = 0; row < ROWS; row++) {
        labels[row] = row % 11 == 10 ? -1 : row % CLASSES;
        for (int i = 0; i < CLASSES; i++)
            logits[row * CLASSES + i] = (float)random_normal(&random);
        if (row % 3)
            logits[row * CLASSES + row % CLASSES] = 9;
        if (row % 5 == 0) /* as good as the label: the lower class counts */
            logits[row * CLASSES + (row % 2 ? 0 : CLASSES - 1)] = 9;
        if (row % 17 == 0)
            logits[row * CLASSES + 3] = NAN;
    }
    check_case(&(Case){.op = "hits",
                       .in = {{.filling = GIVEN, .shape = shape_2(ROWS, CLASSES), .given = logits},
                              {.filling = INDEX, .shape = shape_1(ROWS), .index = labels},
                              {.filling = GIVEN, .given = scale}},
                       .out = {argument(NORMAL, shape_0())}});
    static const double few[] = {1, 3, 2, 5, 5, 0, 1, 1, 1}, one[] = {1};
    static const int32_t right[] = {1, 1, 2};
    Case known = {.op = "hits",
                  .in = {{.filling = GIVEN, .shape = shape_2(3, 3), .given = few},
                         {.filling = INDEX, .shape = shape_1(3), .index = right},
                         {.filling = GIVEN, .given = one}},
                  .out = {argument(NORMAL, shape_0())}};
    check_case(&known);
}

static void running_statistics(void **state)
{
    (void)state;
    BatchNormAttr attr = {.eps = 1e-6, .momentum = 0.1};
    static const int64_t shapes[][2] = {{2, 3}, {131, 75}, {300, 33}};
    for (int k = 0; k < 3; k++) {
        Argument x = argument(NORMAL, shape_2(shapes[k][0], shapes[k][1])), two = argument(ABOVE, shape_2(2, shapes[k][1]));
        check_case(&(Case){.op = "batch_norm", .attr = &attr, .in = {x}, .out = {x, two, two}, .accumulate = 4});
        check_case(&(Case){.op = "batch_norm_grad", .attr = &attr, .in = {x, x, two}, .out = {x}, .accumulate = 1});
        check_case(&(Case){.op = "batch_norm_fixed", .attr = &attr, .in = {x, two}, .out = {x}, .in_place = true});
    }
}

#ifndef KERNELS_ON_GPU
/* ---- products of several tiles and chunks, in f32 and bf16 */

static Ref large_products(Tape *tape, int index)
{
    static const struct {
        int rows, n, k;
        Prologue prologue;
        bool scaled, residual;
    } maps[] = {{1201, 70, 45, PROLOGUE_LAYER_NORM, false, false},
                {1100, 45, 70, PROLOGUE_GELU, false, true},
                {607, 33, 226, PROLOGUE_QUICK_GELU, false, false},
                {1040, 250, 64, PROLOGUE_NONE, true, true}};
    static const int heads[][4] = {{3, 65, 64, 2}, {1, 257, 20, 1}, {2, 50, 160, 2}, {5, 17, 96, 3}}; /* G, T, width, heads */
    enum { MAPS = sizeof maps / sizeof *maps, HEADS = sizeof heads / sizeof *heads };
    if (index >= MAPS + HEADS)
        return REF_NONE;
    DType type = tape_activation(tape);
    if (index >= MAPS) {
        const int *a = heads[index - MAPS];
        return self_attention(tape, tape_input(tape, "qkv", type, shape_3(a[0], a[1], 3 * a[2])), a[3], REF_NONE);
    }
    int rows = maps[index].rows, n = maps[index].n, k = maps[index].k;
    bool norm = maps[index].prologue == PROLOGUE_LAYER_NORM;
    return linear(
        tape,
        (LinearArgs){.x = tape_input(tape, "x", norm ? DTYPE_REAL : type, shape_2(rows, k)),
                     .w = tape_input(tape, "w", DTYPE_REAL, shape_2(n, k)),
                     .b = tape_input(tape, "b", DTYPE_REAL, shape_1(n)),
                     .prologue = maps[index].prologue,
                     .gamma = norm ? tape_input(tape, "gamma", DTYPE_REAL, shape_1(k)) : REF_NONE,
                     .beta = norm ? tape_input(tape, "beta", DTYPE_REAL, shape_1(k)) : REF_NONE,
                     .eps = 1e-3,
                     .column_scale = maps[index].scaled ? tape_input(tape, "column", DTYPE_REAL, shape_1(n)) : REF_NONE,
                     .row_scale = maps[index].scaled ? tape_constant_example(tape, shape_1(8)) : REF_NONE,
                     .residual = maps[index].residual ? tape_input(tape, "residual", DTYPE_REAL, shape_2(rows, n)) : REF_NONE,
                     .dtype = maps[index].residual ? DTYPE_REAL : type});
}

static void products_of_several_tiles(void **state)
{
    (void)state;
    CpuLevel best;
    Device ref;
    assert_true(cpu_level(&best));
    assert_true(device_open("ref64", 1, &ref));
    for (int k = 0; k < 16; k++) {
        DType type = k % 2 ? DTYPE_BF16 : DTYPE_REAL;
        CheckResult expect, one, many;
        if (check_run(large_products, k / 2, type, &ref, &expect) != CHECK_DONE)
            fail_msg("product %d: %s", k / 2, error_text());
        for (int level = CPU_WIDE; level <= (int)best; level++) {
            Device device = {.kind = DEVICE_CPU, .level = (CpuLevel)level, .threads = 1}, three = device;
            three.threads = level == (int)best && k < 2 ? 67 : 3; /* more than there are shares of tiles */
            if (check_run(large_products, k / 2, type, &device, &one) != CHECK_DONE ||
                check_run(large_products, k / 2, type, &three, &many) != CHECK_DONE)
                fail_msg("product %d: %s", k / 2, error_text());
            if (check_difference(&one, &expect) > (type == DTYPE_BF16 ? 0.1 : 2e-4) ||
                check_spread(&one, &expect) > (type == DTYPE_BF16 ? 0.015 : 1e-4))
                fail_msg("product %d in %s on %s: off by %g", k / 2, type == DTYPE_BF16 ? "bf16" : "f32",
                         device_describe(&device), check_spread(&one, &expect));
            assert_memory_equal(one.values, many.values, one.count * sizeof *one.values);
            check_free(&one);
            check_free(&many);
        }
        check_free(&expect);
    }
}

#endif

/* Small whole numbers are exact in bf16 and so are their sums in f32: then bf16 products are held as tightly as f32 ones, and
 * not a row or column of any chunk, tile or panel can go missing. */
static void bf16_products_of_whole_numbers(void **state)
{
    (void)state;
    enum { MOST = 1201 * 226 };
    static const int sizes_of_products[][3] = {{1201, 70, 45}, {607, 33, 226}, {1, 3, 5}, {1025, 14, 33}}; /* rows, n, k */
    LinearAttr attr = {.bf16 = true};
    double *whole = memory_new(MOST, sizeof *whole);
    assert_non_null(whole);
    Random random = random_stream(31, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < MOST; i++)
        whole[i] = (double)random_below(&random, 7) - 3;
    for (size_t s = 0; s < sizeof sizes_of_products / sizeof *sizes_of_products; s++) {
        int rows = sizes_of_products[s][0], n = sizes_of_products[s][1], k = sizes_of_products[s][2];
        Argument x = {.filling = GIVEN, .shape = shape_2(rows, k), .given = whole},
                 w = {.filling = GIVEN, .shape = shape_2(n, k), .given = whole + 7},
                 b = {.filling = GIVEN, .shape = shape_1(n), .given = whole + 3},
                 y = {.filling = GIVEN, .shape = shape_2(rows, n), .given = whole + 11};
        check_case(&(Case){.op = "linear", .attr = &attr, .in = {x, w, b}, .out = {y}});
        check_case(&(Case){.op = "linear_dx", .attr = &attr, .in = {y, w}, .out = {x}});
        check_case(&(Case){.op = "linear_dw", .attr = &attr, .in = {y, x}, .out = {w, b}});
        check_case(&(Case){.op = "linear_dw", .attr = &attr, .in = {y, x}, .out = {w, b}, .accumulate = 3});
    }
    memory_free(whole);
}

/* Queries and keys of every number of tiles, heads of every width that tensor cores are given and of others; q apart from k and
 * v. The log-sums are not those of the map, which the gradient's formula does not ask for. */
static void heads_of_every_width(void **state)
{
    (void)state;
    static const int cases[][5] = {{2, 5, 5, 2, 16},   {1, 17, 33, 2, 24},   {1, 65, 50, 1, 32},  {1, 1, 1, 3, 8},
                                   {1, 50, 65, 1, 48}, {1, 257, 257, 1, 64}, {1, 70, 130, 1, 80}, {2, 16, 16, 1, 40},
                                   {1, 37, 19, 2, 7},  {1, 20, 129, 1, 96}};
    for (size_t n = 0; n < 2 * sizeof cases / sizeof *cases; n++) { /* groups, queries, keys, heads, width of a head */
        const int *s = cases[n / 2];
        bool bf16 = n % 2;
        int64_t width = (int64_t)s[3] * s[4];
        AttentionAttr attr = {.groups = s[0],
                              .queries = s[1],
                              .keys = s[2],
                              .v_column = width,
                              .width = width,
                              .heads = s[3],
                              .scale = 1 / sqrt((double)s[4])};
        Argument q = {.filling = NORMAL, .shape = shape_3(s[0], s[1], width), .bf16 = bf16},
                 kv = {.filling = NORMAL, .shape = shape_3(s[0], s[2], 2 * width), .bf16 = bf16},
                 lse = argument(ABOVE, shape_3(s[0], s[3], s[1])),
                 bias = argument(n % 4 < 2 ? NORMAL : NONE, shape_3(s[3], s[1], s[2]));
        double spread = bf16 ? 0.006 : 1e-5;
        Argument map = argument(NORMAL, shape_4(s[0], s[3], s[1], s[2]));
        check_case(&(Case){.op = "attention", .attr = &attr, .in = {q, kv, bias}, .out = {q, lse}, .spread = spread});
        check_case(&(Case){.op = "attention", .attr = &attr, .in = {q, kv, bias}, .out = {q, lse, map}, .spread = spread});
        for (uint32_t accumulate = 0; accumulate < 8; accumulate += 7)
            check_case(&(Case){.op = "attention_grad",
                               .attr = &attr,
                               .in = {q, q, kv, q, lse, bias},
                               .out = {q, kv, bias},
                               .accumulate = accumulate,
                               .spread = spread});
    }
}

#ifndef KERNELS_ON_GPU
/* ---- the cpu's kernels in the lowered forms of linear */

static void lowered_linear(void **state)
{
    (void)state;
    CpuLevel best;
    Device ref;
    assert_true(cpu_level(&best));
    assert_true(device_open("ref64", 1, &ref));
    CheckBuild build = find_op("linear")->example;
    int compared = 0;
    for (int level = CPU_WIDE; level <= (int)best; level++)
        for (uint32_t lacks = 1; lacks <= (DEVICE_LACKS_PROLOGUE | DEVICE_LACKS_EPILOGUE); lacks++)
            for (int k = 0;; k++) {
                CheckResult expect, got;
                CheckOutcome outcome = check_run(build, k, DTYPE_REAL, &ref, &expect);
                if (outcome == CHECK_END)
                    break;
                Device device = {.kind = DEVICE_CPU, .level = (CpuLevel)level, .threads = 2, .lacks = lacks};
                if (outcome == CHECK_ERROR || check_run(build, k, DTYPE_REAL, &device, &got) != CHECK_DONE)
                    fail_msg("linear, example %d: %s", k, error_text());
                if (check_difference(&got, &expect) > 2e-4)
                    fail_msg("linear, example %d, lacking %u: off by %g", k, lacks, check_difference(&got, &expect));
                check_free(&expect);
                check_free(&got);
                compared++;
            }
    assert_true(compared >= 24);
}
#endif

#ifdef KERNELS_ON_GPU
/* ---- ops that have no fast kernel on the cpu, or a room's test for it */

static void other_ops(void **state)
{
    (void)state;
    static const double scale = 0.37, dloss = -1.3;
    FillAttr filled = {2.5};
    WeightedSumAttr sum = {3, {0.5, -1, 2}};
    for (int s = 0; s < SIZES; s++) {
        Argument x = argument(NORMAL, shape_2(sizes[s][0], sizes[s][1])), v = argument(NORMAL, shape_1(sizes[s][1])),
                 one = {.filling = GIVEN, .given = &scale}, other = {.filling = GIVEN, .given = &dloss};
        check_case(&(Case){.op = "fill", .attr = &filled, .out = {x}});
        for (int with = 0; with < 2; with++) {
            Argument weight = argument(with ? ZERO_ONE : NONE, shape_1(sizes[s][0])),
                     q = argument(with ? NORMAL : NONE, v.shape),
                     bias = argument(NORMAL, shape_1((with ? 3 : 2) * sizes[s][1]));
            check_case(&(Case){.op = "key_free_bias", .in = {q, v}, .out = {bias}});
            check_case(&(Case){.op = "key_free_bias_grad", .in = {bias, v}, .out = {q, v}, .accumulate = with ? 3 : 0});
            if (sizes[s][1] == 1) /* parallel, but for rounding, which compares badly */
                continue;
            check_case(&(Case){.op = "cosine", .in = {x, x, weight, one}, .out = {argument(NORMAL, shape_0())}});
            check_case(&(Case){.op = "cosine_grad", .in = {x, x, weight, one, other}, .out = {x}, .accumulate = with});
        }
    }
    check_case(&(Case){
        .op = "weighted_sum", .attr = &sum, .in = {argument(NORMAL, shape_1(3))}, .out = {argument(NORMAL, shape_0())}});
}

/* ---- planted bugs */

/* Whether a case with that bug gives other results, or the lock-step stops it. */
static bool is_found(const Case *k, const Run *good, LockstepPlant plant, int n, LockstepOrder order)
{
    Run bad;
    lockstep_set_order(order);
    lockstep_plant(plant, n);
    run_open(&bad, k, &(Device){.kind = DEVICE_CUDA, .threads = 1});
    bool found = !went_well;
    for (int i = 0; i < OUTS; i++)
        if (k->out[i].filling != NONE)
            found = found || memcmp(bad.call.out[i].data, good->call.out[i].data, output_bytes(k, i)) != 0;
    run_close(&bad);
    lockstep_plant(PLANT_NONE, 0);
    return found;
}

/* In every launch of a case a block and a warp are lost, and its barriers are taken away one by one. Not all of these matter:
 * some guard what only the next round of a loop, or another size, would overwrite. */
static void check_plants(const Case *k)
{
    Run good;
    int barriers_found = 0;
    lockstep_set_order(LOCKSTEP_FORWARD);
    lockstep_plant(PLANT_NONE, 0);
    run_open(&good, k, &(Device){.kind = DEVICE_CUDA, .threads = 1});
    int launches = lockstep_launches(), barriers = lockstep_barriers();
    if (!went_well || launches < 1)
        fail_msg("%s: %s", k->op, error_text());
    for (int n = 0; n < launches; n++)
        for (int plant = PLANT_NO_LAST_BLOCK; plant <= PLANT_NO_LAST_WARP; plant++)
            if (!is_found(k, &good, (LockstepPlant)plant, n, LOCKSTEP_FORWARD))
                fail_msg("%s: launch %d without its last %s goes unnoticed", k->op, n,
                         plant == PLANT_NO_LAST_BLOCK ? "block" : "warp");
    for (int n = 0; n < barriers; n++)
        barriers_found += is_found(k, &good, PLANT_NO_BARRIER, n, LOCKSTEP_FORWARD) ||
                          is_found(k, &good, PLANT_NO_BARRIER, n, LOCKSTEP_REVERSE);
    if (barriers && !barriers_found)
        fail_msg("%s: none of its %d barriers is missed", k->op, barriers);
    run_close(&good);
}

static void planted_bugs_are_found(void **state)
{
    (void)state;
    enum { ROWS = 131, N = 67 };
    static const double scalar = 0.37;
    static const int32_t index[ROWS] = {5, -1, -2, 3}, inverse[6] = {0, -1, -1, 3, -1, 0};
    static const AdamwRange range = {3, 8000, 1, 0.05};
    FillAttr filled = {2.5};
    WeightedSumAttr sum = {3, {0.5, -1, 2}};
    ActivationAttr gelu = {ACTIVATION_GELU};
    LayerNormAttr norm = {1e-3};
    DistanceAttr distance = {DISTANCE_L1, 1};
    PatchesAttr cut = {3, PATCH_CHANNEL_FIRST};
    GradNormAttr clip = {1};
    AdamwAttr adamw = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .ranges = &range, .range_count = 1};
    LinearAttr normed = {PROLOGUE_LAYER_NORM, 1e-3, true}, active = {PROLOGUE_GELU, 0, false};
    AttentionAttr heads = {.groups = 1, .queries = 70, .keys = 70, .v_column = 24, .width = 24, .heads = 1, .scale = 0.2};
    Argument x = argument(NORMAL, shape_2(ROWS, N)), vector = argument(NORMAL, shape_1(N)),
             part = argument(NORMAL, shape_1(250)), stats = argument(ABOVE, shape_2(ROWS, 2)),
             one = {.filling = GIVEN, .given = &scalar}, loss = argument(NORMAL, shape_0()),
             square = argument(NORMAL, shape_2(N, N)), at = {.filling = INDEX, .shape = shape_1(ROWS), .index = index},
             back = {.filling = INDEX, .shape = shape_1(6), .index = inverse}, six = argument(NORMAL, shape_2(6, N)),
             all = argument(ABOVE, shape_1(8003)), status = argument(ABOVE, shape_1(STATUS_COUNT)),
             q = argument(NORMAL, shape_3(1, 70, 24)), kv = argument(NORMAL, shape_3(1, 70, 48)),
             lse = argument(ABOVE, shape_3(1, 1, 70)), map = argument(NORMAL, shape_4(1, 1, 70, 70)),
             bias = argument(NORMAL, shape_3(1, 70, 70));
    const Case cases[] = {
        {.op = "activation", .attr = &gelu, .in = {x}, .out = {x}},
        {.op = "activation_grad", .attr = &gelu, .in = {x, x}, .out = {x}},
        {.op = "add", .in = {x, x}, .out = {x}},
        {.op = "add_to", .in = {x}, .out = {x}, .accumulate = 1},
        {.op = "fill", .attr = &filled, .out = {x}},
        {.op = "key_free_bias", .in = {part, part}, .out = {argument(NORMAL, shape_1(750))}},
        {.op = "key_free_bias_grad", .in = {argument(NORMAL, shape_1(750)), part}, .out = {part, part}},
        {.op = "weighted_sum", .attr = &sum, .in = {argument(NORMAL, shape_1(3))}, .out = {loss}},
        {.op = "scale_add", .in = {x, vector, one, x}, .out = {x}},
        {.op = "layer_norm", .attr = &norm, .in = {x, vector, vector}, .out = {x, stats}},
        {.op = "layer_norm_grad", .attr = &norm, .in = {x, x, stats, vector}, .out = {x, vector, vector}},
        {.op = "standardise", .in = {x}, .out = {x}},
        {.op = "distance", .attr = &distance, .in = {x, x, {0}, one}, .out = {loss}},
        {.op = "distance_grad", .attr = &distance, .in = {x, x, {0}, one, one}, .out = {x}},
        {.op = "cosine", .in = {x, x, {0}, one}, .out = {loss}},
        {.op = "cosine_grad", .in = {x, x, {0}, one, one}, .out = {x}},
        {.op = "gather", .in = {six, at, six, {0}, {0}}, .out = {x}},
        {.op = "gather_grad", .in = {x, at, back, {0}}, .out = {six, six, six}},
        {.op = "patches",
         .attr = &cut,
         .in = {argument(NORMAL, shape_4(2, 3, 9, 12))},
         .out = {argument(NORMAL, shape_2(24, 27))}},
        {.op = "argmax", .in = {x}, .out = {argument(INDEX, shape_1(ROWS))}},
        {.op = "grad_norm", .attr = &clip, .in = {argument(NORMAL, shape_1(40000)), loss}, .out = {status}},
        {.op = "adamw", .attr = &adamw, .in = {all, status, status}, .out = {all, all, all}, .accumulate = 7},
        {.op = "linear", .attr = &normed, .in = {x, square, vector, vector, vector, vector, one, x}, .out = {x, stats}},
        {.op = "linear_dx", .attr = &normed, .in = {x, square, x, stats, vector, vector, one}, .out = {x, vector, vector}},
        {.op = "linear_dx", .attr = &active, .in = {x, square, x}, .out = {x}, .accumulate = 1},
        {.op = "linear_dw",
         .attr = &normed,
         .in = {x, x, stats, vector, vector, vector, one, square, vector},
         .out = {square, vector, vector}},
        {.op = "attention", .attr = &heads, .in = {q, kv}, .out = {q, lse, map}},
        {.op = "attention_grad", .attr = &heads, .in = {q, q, kv, q, lse, bias}, .out = {q, kv, bias}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Case k = cases[i];
        check_plants(&k);
        if (strncmp(k.op, "attention", 9) != 0)
            continue;
        for (int a = 0; a < 4; a++)
            k.in[a].bf16 = k.in[a].filling == NORMAL;
        k.out[0].bf16 = true;
        k.out[1].bf16 = k.out[1].filling == NORMAL;
        check_plants(&k);
    }
}
#endif

int main(void)
{
    unsetenv("LACUNA_CPU");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementwise),
        cmocka_unit_test(scale_add_of_every_form),
        cmocka_unit_test(rows_are_normalised),
        cmocka_unit_test(largest_columns),
        cmocka_unit_test(distances),
        cmocka_unit_test(bf16_numbers),
        cmocka_unit_test(gathers),
        cmocka_unit_test(pictures_are_cut),
        cmocka_unit_test(norms),
        cmocka_unit_test(steps_of_adamw),
        cmocka_unit_test(bf16_products_of_whole_numbers),
        cmocka_unit_test(heads_of_every_width),
#ifdef KERNELS_ON_GPU
        cmocka_unit_test(other_ops),
        cmocka_unit_test(planted_bugs_are_found),
#endif
        cmocka_unit_test(steps_of_lars),
        cmocka_unit_test(running_statistics),
        cmocka_unit_test(averages_follow_weights),
        cmocka_unit_test(hits_are_counted),
#ifndef KERNELS_ON_GPU
        cmocka_unit_test(lowered_linear),
        cmocka_unit_test(products_of_several_tiles),
#endif
    };
    return cmocka_run_group_tests(tests, make_pool, NULL);
}
