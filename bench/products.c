/* The products of one `linear` (forward, dX, dW) by our kernels and by oneDNN, in turn, on the shapes of a training step: whole
 * products, plain f32, all threads. Ours include LayerNorm on the way in and out and the bias gradient, oneDNN's are the bare
 * products: products ROUNDS [THREADS] */
#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include <oneapi/dnnl/dnnl.h>

#include "base/clock.h"
#include "base/error.h"
#include "graph/program.h"
#include "ops/distance/distance.h"
#include "ops/fill/fill.h"
#include "ops/linear/linear.h"

enum { ROUNDS_MOST = 99, KINDS = 3 };

static const char *const kinds[KINDS] = {"forward", "dX", "dW"}, *const op_names[KINDS] = {"linear", "linear_dx", "linear_dw"};

/* ---- allocations, counted by standing in front of the C library's */

static long allocations;

void *malloc(size_t size)
{
    static void *(*next)(size_t);
    if (!next)
        next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return next(size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    static int (*next)(void **, size_t, size_t);
    if (!next)
        next = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return next(block, alignment, size);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void must(bool ok)
{
    if (ok)
        return;
    fprintf(stderr, "products: %s\n", error_text());
    exit(1);
}

/* ---- oneDNN: c (m, n) = a (m, k) x b (k, n), either operand transposed by its strides */

typedef struct {
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c;
} Peer;

static dnnl_memory_t peer_memory(dnnl_engine_t engine, int64_t rows, int64_t columns, bool transposed, dnnl_memory_desc_t *desc)
{
    dnnl_dims_t dims = {rows, columns}, strides = {transposed ? 1 : columns, transposed ? rows : 1};
    dnnl_memory_t memory;
    dnnl_memory_desc_init_by_strides(desc, 2, dims, dnnl_f32, strides);
    dnnl_memory_create(&memory, desc, engine, DNNL_MEMORY_ALLOCATE);
    float *data;
    dnnl_memory_get_data_handle(memory, (void **)&data);
    for (int64_t i = 0; i < rows * columns; i++)
        data[i] = (float)(i % 7) * 0.1f;
    return memory;
}

static Peer peer_open(dnnl_engine_t engine, int64_t m, int64_t n, int64_t k, bool a_transposed, bool b_transposed)
{
    Peer p;
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t made;
    p.a = peer_memory(engine, m, k, a_transposed, &a);
    p.b = peer_memory(engine, k, n, b_transposed, &b);
    p.c = peer_memory(engine, m, n, false, &c);
    dnnl_matmul_desc_init(&desc, &a, &b, NULL, &c);
    if (dnnl_primitive_desc_create(&made, &desc, NULL, engine, NULL) != dnnl_success ||
        dnnl_primitive_create(&p.primitive, made) != dnnl_success) {
        fprintf(stderr, "products: oneDNN cannot make this product\n");
        exit(1);
    }
    dnnl_primitive_desc_destroy(made);
    return p;
}

static double peer_seconds(const Peer *p, dnnl_stream_t stream)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}};
    double start = clock_seconds();
    dnnl_primitive_execute(p->primitive, stream, 3, args);
    dnnl_stream_wait(stream);
    return clock_seconds() - start;
}

static void peer_close(Peer *p)
{
    dnnl_primitive_destroy(p->primitive);
    dnnl_memory_destroy(p->a);
    dnnl_memory_destroy(p->b);
    dnnl_memory_destroy(p->c);
}

/* ---- ours: a tape of one linear with LayerNorm */

static Program *own_open(Tape *tape, const Device *device, int64_t m, int64_t n, int64_t k)
{
    const double one = 1;
    tape_differentiate_inputs(tape);
    tape_segment(tape, SEGMENT_ONLY);
    Ref x = tape_input(tape, "x", DTYPE_REAL, shape_2(m, k)), w = tape_input(tape, "w", DTYPE_REAL, shape_2(n, k));
    Ref y = linear(tape, (LinearArgs){.x = x,
                                      .w = w,
                                      .b = tape_input(tape, "b", DTYPE_REAL, shape_1(n)),
                                      .prologue = PROLOGUE_LAYER_NORM,
                                      .gamma = tape_input(tape, "gamma", DTYPE_REAL, shape_1(k)),
                                      .beta = tape_input(tape, "beta", DTYPE_REAL, shape_1(k)),
                                      .eps = 1e-6,
                                      .column_scale = REF_NONE,
                                      .row_scale = REF_NONE,
                                      .residual = REF_NONE});
    Ref loss = distance(tape, (DistanceArgs){.pred = y,
                                             .target = tape_constant_example(tape, shape_2(m, n)),
                                             .weight = REF_NONE,
                                             .scale = tape_constant(tape, shape_0(), &one)});
    tape_gradient(tape, &loss, &one, 1, fill);
    /* What nobody reads is not computed. */
    tape_keep(tape, grad_of(tape, x), "dx");
    tape_keep(tape, grad_of(tape, w), "dw");
    Program *p = program_make(tape, device, NULL, 0);
    must(p && program_measure(p));
    return p;
}

int main(int argc, char **argv)
{
    static const int64_t shapes[][3] = {{4352, 576, 192},  {4352, 192, 768},  {16640, 768, 192},
                                        {1600, 1152, 384}, {6304, 1024, 256}, {800, 3072, 768}};
    int rounds = argc > 1 ? atoi(argv[1]) : 9;
    if (rounds < 1 || rounds > ROUNDS_MOST) {
        fprintf(stderr, "usage: products ROUNDS [THREADS], 1 to %d rounds\n", ROUNDS_MOST);
        return 2;
    }
    Device device;
    must(device_open("cpu", argc > 2 ? atoi(argv[2]) : 0, &device));
    omp_set_num_threads(device.threads);
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_engine_create(&engine, dnnl_cpu, 0);
    dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    const dnnl_version_t *version = dnnl_version();
    printf("%s; oneDNN %d.%d.%d; median GFLOP/s of %d rounds, ratio ours / oneDNN (smallest to largest)\n",
           device_describe(&device), version->major, version->minor, version->patch, rounds);
    long own_allocations = 0, peer_allocations = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        double flops = 2.0 * (double)m * (double)n * (double)k;
        Tape *tape = tape_new();
        must(tape);
        Program *own = own_open(tape, &device, m, n, k);
        Peer peers[KINDS] = {peer_open(engine, m, n, k, false, true), peer_open(engine, m, k, n, false, false),
                             peer_open(engine, n, k, m, true, false)};
        double ours[KINDS][ROUNDS_MOST], theirs[KINDS][ROUNDS_MOST], ratios[KINDS][ROUNDS_MOST], before[KINDS] = {0};
        for (int r = -1; r < rounds; r++) {
            long count = allocations;
            program_run(own, SEGMENT_ONLY);
            own_allocations = allocations - count;
            for (int i = 0; i < KINDS; i++) {
                count = allocations;
                double sum = program_op_seconds(own, op_names[i]), other = peer_seconds(&peers[i], stream);
                peer_allocations = allocations - count;
                if (r >= 0) {
                    ours[i][r] = sum - before[i];
                    theirs[i][r] = other;
                    ratios[i][r] = theirs[i][r] / ours[i][r];
                }
                before[i] = sum;
            }
        }
        for (int i = 0; i < KINDS; i++) {
            qsort(ours[i], (size_t)rounds, sizeof(double), ascending);
            qsort(theirs[i], (size_t)rounds, sizeof(double), ascending);
            qsort(ratios[i], (size_t)rounds, sizeof(double), ascending);
            printf("%6lld x %4lld x %4lld  %-8s ours %6.1f  oneDNN %6.1f  %.2f (%.2f to %.2f)\n", (long long)m, (long long)n,
                   (long long)k, kinds[i], flops / ours[i][rounds / 2] / 1e9, flops / theirs[i][rounds / 2] / 1e9,
                   ratios[i][rounds / 2], ratios[i][0], ratios[i][rounds - 1]);
            peer_close(&peers[i]);
        }
        program_free(own);
        tape_free(tape);
    }
    printf("allocations: ours %ld in a whole program, oneDNN %ld in a call\n", own_allocations, peer_allocations);
    dnnl_stream_destroy(stream);
    dnnl_engine_destroy(engine);
    return 0;
}
