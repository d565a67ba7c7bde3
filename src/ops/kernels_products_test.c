/* Fast kernels of products: linear maps and attention. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "ops/attention/slots.h"
#include "ops/check.h"
#include "ops/kernels_case.h"
#include "ops/linear/slots.h"

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
                 y = {.filling = GIVEN, .shape = shape_2(rows, n), .given = whole + 11}, to = y, dw = w;
#ifdef KERNELS_ON_GPU
        x.bf16 = w.bf16 = y.bf16 = true; /* as lowering hands them over */
#endif
        check_case(&(Case){.op = "linear", .attr = &attr, .in = {x, w, b}, .out = {to}});
        check_case(&(Case){.op = "linear_dx", .attr = &attr, .in = {y, w}, .out = {x}});
        check_case(&(Case){.op = "linear_dw", .attr = &attr, .in = {y, x}, .out = {dw, b}});
        check_case(&(Case){
            .op = "linear_dw", .attr = &attr, .in = {y, x, {0}, {0}, {0}, b, {0}, dw, b}, .out = {dw, b, b}, .accumulate = 5});
        check_case(&(Case){.op = "linear_dw", .attr = &attr, .in = {y, x}, .out = {dw, b}, .accumulate = 3});
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
        const Argument none = argument(NONE, shape_0());
        for (uint32_t accumulate = 0; accumulate < 8; accumulate++)
            check_case(&(Case){.op = "attention_grad",
                               .attr = &attr,
                               .in = {q, q, kv, q, lse, bias},
                               .out = {q, kv, bias},
                               .accumulate = accumulate,
                               .spread = spread});
        for (int out = 0; out < 3; out++) /* one of them is not wanted */
            check_case(&(Case){.op = "attention_grad",
                               .attr = &attr,
                               .in = {q, q, kv, q, lse, bias},
                               .out = {out == 0 ? none : q, out == 1 ? none : kv, out == 2 ? none : bias},
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

int main(void)
{
    unsetenv("LACUNA_CPU");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_products_of_whole_numbers),
        cmocka_unit_test(heads_of_every_width),
#ifndef KERNELS_ON_GPU
        cmocka_unit_test(lowered_linear),
        cmocka_unit_test(products_of_several_tiles),
#endif
    };
    return cmocka_run_group_tests(tests, make_pool, NULL);
}
