/* Fast kernels of ops on numbers, rows and whole buffers. */
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
#include "ops/activation/activation.h"
#include "ops/adamw/attr.h"
#include "ops/batch_norm/attr.h"
#include "ops/distance/attr.h"
#include "ops/fill/attr.h"
#include "ops/grad_norm/attr.h"
#include "ops/hog/attr.h"
#include "ops/kernels_case.h"
#include "ops/lars/attr.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/patches/attr.h"
#include "ops/relative_bias/attr.h"
#include "ops/weighted_sum/attr.h"
#include "ops/window/attr.h"

/* ---- shapes: less than a vector, than a tile, several tiles */

static const int sizes[][2] = {{1, 1}, {5, 3}, {3, 7}, {129, 27}, {700, 48}, {1201, 13}, {67, 385}, {2, 9001}};
enum { SIZES = sizeof sizes / sizeof *sizes };

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

#ifdef KERNELS_ON_GPU
/* What lowering asks of a GPU's kernels beside the cpu's: bf16 on either side, and what a product multiplies once more. */
static void operands_of_products(void **state)
{
    (void)state;
    LayerNormAttr norm = {1e-3};
    ActivationAttr gelu = {ACTIVATION_GELU};
    /* In packs: several blocks, turns, and no room to share; last what is whole packs in all, but not in a row. */
    static const int wide[][2] = {{70, 260}, {9, 1100}, {3, 6160}, {68, 67}};
    enum { WIDE = sizeof wide / sizeof *wide };
    for (int s = 0; s < SIZES + WIDE; s++)
        for (int with = 0; with < 16; with++) {
            const int *size = s < SIZES ? sizes[s] : wide[s - SIZES];
            int64_t rows = size[0], n = size[1];
            Argument from = argument(NORMAL, shape_2(rows, n)), to = from, rounded = from,
                     vector = argument(NORMAL, shape_1(n)), stats = argument(ABOVE, shape_2(rows, 2)),
                     y = argument(NONE, shape_0());
            from.bf16 = with & 1;
            to.bf16 = with & 2;
            rounded.bf16 = true;
            if (with & 4)
                y = rounded;
            check_case(&(Case){.op = "operand",
                               .in = {from, argument(with & 2 ? NORMAL : NONE, vector.shape),
                                      argument(with & 4 ? NORMAL : NONE, shape_1(rows % 3 ? 1 : 3))},
                               .out = {rounded, argument(with & 8 ? NORMAL : NONE, vector.shape)},
                               .accumulate = s % 2 ? 2 : 0});
            check_case(&(Case){.op = "activation_grad",
                               .attr = &gelu,
                               .in = {from, to},
                               .out = {to, y, argument(with & 8 ? NORMAL : NONE, vector.shape)},
                               .accumulate = s % 2 | (uint32_t)(s % 3 == 1) << ACTIVATION_GRAD_SUMS,
                               .in_place = from.bf16 == to.bf16 && s % 4 == 0});
            if (with < 8) {
                check_case(&(Case){.op = "activation", .attr = &gelu, .in = {from}, .out = {to}});
                check_case(&(Case){.op = "layer_norm", .attr = &norm, .in = {from, vector, vector}, .out = {to, stats}});
            }
            if (n > 1 && with < 8)
                for (uint32_t accumulate = 0; accumulate < 8; accumulate += 7)
                    check_case(&(Case){.op = "layer_norm_grad",
                                       .attr = &norm,
                                       .in = {from, to, stats, vector, vector},
                                       .out = {to, argument(s % 3 ? NORMAL : NONE, vector.shape), vector, y},
                                       .accumulate = accumulate,
                                       .in_place = from.bf16 == to.bf16 && !accumulate});
        }
}
#endif

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
    /* What is not a number is passed over, unless it comes first. */
    enum { LONG = 37 };
    double given[LONG];
    for (int n = 2; n <= LONG; n++)
        for (int at = 0; at < n; at++) {
            for (int i = 0; i < n; i++)
                given[i] = i == at ? NAN : i * 7 % n;
            check_case(&(Case){.op = "argmax",
                               .in = {{.filling = GIVEN, .shape = shape_2(1, n), .given = given}, argument(NONE, shape_1(1))},
                               .out = {argument(INDEX, shape_1(1))}});
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
#endif

int main(void)
{
    unsetenv("LACUNA_CPU");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementwise),
#ifdef KERNELS_ON_GPU
        cmocka_unit_test(operands_of_products),
#endif
        cmocka_unit_test(scale_add_of_every_form),
        cmocka_unit_test(rows_are_normalised),
        cmocka_unit_test(largest_columns),
        cmocka_unit_test(distances),
        cmocka_unit_test(bf16_numbers),
        cmocka_unit_test(gathers),
        cmocka_unit_test(pictures_are_cut),
        cmocka_unit_test(norms),
        cmocka_unit_test(steps_of_adamw),
#ifdef KERNELS_ON_GPU
        cmocka_unit_test(other_ops),
#endif
        cmocka_unit_test(steps_of_lars),
        cmocka_unit_test(running_statistics),
        cmocka_unit_test(averages_follow_weights),
        cmocka_unit_test(hits_are_counted),
    };
    return cmocka_run_group_tests(tests, make_pool, NULL);
}
