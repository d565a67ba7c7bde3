/* Bugs that are planted into the GPU's kernels, which run in lock-step on the CPU: the cases of the other tests find them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KERNELS_ON_GPU
#include "ops/activation/activation.h"
#include "ops/adamw/attr.h"
#include "ops/attention/slots.h"
#include "ops/distance/attr.h"
#include "ops/fill/attr.h"
#include "ops/grad_norm/attr.h"
#include "ops/kernels_case.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/slots.h"
#include "ops/patches/attr.h"
#include "ops/weighted_sum/attr.h"

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
    LinearAttr plain = {PROLOGUE_NONE, 0, false};
    AttentionAttr heads = {.groups = 1, .queries = 70, .keys = 70, .v_column = 24, .width = 24, .heads = 1, .scale = 0.2};
    Argument x = argument(NORMAL, shape_2(ROWS, N)), vector = argument(NORMAL, shape_1(N)),
             part = argument(NORMAL, shape_1(250)), stats = argument(ABOVE, shape_2(ROWS, 2)),
             one = {.filling = GIVEN, .given = &scalar}, loss = argument(NORMAL, shape_0()),
             square = argument(NORMAL, shape_2(N, N)), at = {.filling = INDEX, .shape = shape_1(ROWS), .index = index},
             back = {.filling = INDEX, .shape = shape_1(6), .index = inverse}, six = argument(NORMAL, shape_2(6, N)),
             all = argument(ABOVE, shape_1(8003)), status = argument(ABOVE, shape_1(STATUS_COUNT)),
             q = argument(NORMAL, shape_3(1, 70, 24)), kv = argument(NORMAL, shape_3(1, 70, 48)),
             lse = argument(ABOVE, shape_3(1, 1, 70)), map = argument(NORMAL, shape_4(1, 1, 70, 70)),
             bias = argument(NORMAL, shape_3(1, 70, 70)),
             rounded = {.filling = NORMAL, .shape = shape_2(ROWS, N), .bf16 = true};
    const Case cases[] = {
        {.op = "activation", .attr = &gelu, .in = {x}, .out = {x}},
        {.op = "activation_grad", .attr = &gelu, .in = {x, x}, .out = {x, rounded}},
        {.op = "activation_grad", .attr = &gelu, .in = {x, x}, .out = {x, rounded, vector}},
        {.op = "add", .in = {x, x}, .out = {x}},
        {.op = "add_to", .in = {x}, .out = {x}, .accumulate = 1},
        {.op = "fill", .attr = &filled, .out = {x}},
        {.op = "key_free_bias", .in = {part, part}, .out = {argument(NORMAL, shape_1(750))}},
        {.op = "key_free_bias_grad", .in = {argument(NORMAL, shape_1(750)), part}, .out = {part, part}},
        {.op = "weighted_sum", .attr = &sum, .in = {argument(NORMAL, shape_1(3))}, .out = {loss}},
        {.op = "scale_add", .in = {x, vector, one, x}, .out = {x}},
        {.op = "layer_norm", .attr = &norm, .in = {x, vector, vector}, .out = {x, stats}},
        {.op = "layer_norm_grad", .attr = &norm, .in = {x, x, stats, vector, vector}, .out = {x, vector, vector, rounded}},
        {.op = "operand", .in = {x, vector, one}, .out = {rounded, vector}},
        {.op = "operand", .in = {x}, .out = {rounded}},
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
        {.op = "patches_standardised",
         .attr = &cut,
         .in = {argument(NORMAL, shape_4(2, 3, 9, 12))},
         .out = {argument(NORMAL, shape_2(24, 27))}},
        {.op = "argmax", .in = {x}, .out = {argument(INDEX, shape_1(ROWS))}},
        {.op = "grad_norm", .attr = &clip, .in = {argument(NORMAL, shape_1(40000)), loss}, .out = {status}},
        {.op = "adamw", .attr = &adamw, .in = {all, status, status}, .out = {all, all, all}, .accumulate = 7},
        {.op = "linear", .attr = &plain, .in = {x, square, vector, {0}, {0}, vector, one, x}, .out = {x}},
        {.op = "linear_dx", .attr = &plain, .in = {x, square, {0}, {0}, {0}, vector, one}, .out = {x}},
        {.op = "linear_dw",
         .attr = &plain,
         .in = {x, x, {0}, {0}, {0}, vector, one, square, vector},
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

/* Where dx takes dy's place a warp that went ahead would change what the sums of another have yet to read. */
static void rows_in_place_wait_for_their_sums(void **state)
{
    (void)state;
    LayerNormAttr norm = {1e-3};
    Argument x = argument(NORMAL, shape_2(131, 67)), vector = argument(NORMAL, shape_1(67));
    Case k = {.op = "layer_norm_grad",
              .attr = &norm,
              .in = {x, x, argument(ABOVE, shape_2(131, 2)), vector},
              .out = {x, vector, vector},
              .in_place = true};
    Run good;
    lockstep_set_order(LOCKSTEP_WARPS);
    lockstep_plant(PLANT_NONE, 0);
    run_open(&good, &k, &(Device){.kind = DEVICE_CUDA, .threads = 1});
    int barriers = lockstep_barriers();
    assert_int_equal(barriers, 2); /* that one, and the one where partial sums are added up */
    for (int n = 0; n < barriers; n++)
        assert_true(is_found(&k, &good, PLANT_NO_BARRIER, n, LOCKSTEP_WARPS));
    run_close(&good);
}

int main(void)
{
    unsetenv("LACUNA_CPU");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_bugs_are_found),
        cmocka_unit_test(rows_in_place_wait_for_their_sums),
    };
    return cmocka_run_group_tests(tests, make_pool, NULL);
}
