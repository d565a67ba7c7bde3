/* One block against the numbers of docs/spec/backbones.md 2.6 (check A), position tables against those of 2.2, and initial
 * weights. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "graph/program.h"
#include "nn/init.h"
#include "nn/position.h"
#include "nn/vit.h"
#include "ops/distance/distance.h"
#include "ops/fill/fill.h"

/* The tensors of check A in their order, with `gain` for those that start near 1. */
static const struct {
    const char *name;
    bool gain;
} tensors[] = {{"norm1.weight", true},      {"norm1.bias", false},     {"attn.qkv.weight", false}, {"attn.qkv.bias", false},
               {"attn.proj.weight", false}, {"attn.proj.bias", false}, {"norm2.weight", true},     {"norm2.bias", false},
               {"mlp.fc1.weight", false},   {"mlp.fc1.bias", false},   {"mlp.fc2.weight", false},  {"mlp.fc2.bias", false},
               {"ls1.gamma", true},         {"ls2.gamma", true}};

static void fill_parameters(const ParamSet *set, double *weights)
{
    for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++) {
        int index = param_find(set, tensors[t].name);
        for (int64_t i = 0; index >= 0 && i < set->params[index].count; i++) {
            double g = sin(0.37 * (double)t + 1.7 * (double)i + 0.011 * (double)(i * i));
            weights[set->params[index].offset + i] = (float)(tensors[t].gain ? 1 + 0.2 * g : 0.5 * g);
        }
    }
}

static double squares(const double *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    return sum;
}

static double gradient_squares(const ParamSet *set, const double *gradient, const char *name)
{
    const Param *p = &set->params[param_find(set, name)];
    return squares(gradient + p->offset, p->count);
}

static void near(double got, double expect, double tolerance)
{
    if (!(fabs(got - expect) <= tolerance))
        fail_msg("got %.6f, expected %.6f", got, expect);
}

typedef struct {
    double first[8], sum, squares;
} Expect;

static void check_block(const BlockConfig *config, const Expect *expect, const char *const *names, const double *grads,
                        int count, double input_squares)
{
    enum { TOKENS = 5, WIDTH = 8 };
    ParamSet set = {0};
    Tape *tape = tape_new();
    tape_differentiate_inputs(tape);
    tape_segment(tape, SEGMENT_ONLY);
    tape_use_params(tape, &set, "params", true);
    Ref x = tape_input(tape, "x", DTYPE_REAL, shape_3(1, TOKENS, WIDTH)), none[2] = {REF_NONE, REF_NONE};
    Ref y = vit_block(tape, x, config, none, REF_NONE, 0);
    tape_keep(tape, y, "y");
    /* Half the sum of squares: l2 against zeros is the mean over the width, summed over rows. */
    const double zeros[TOKENS * WIDTH] = {0}, half = WIDTH / 2.0;
    Ref loss = distance(tape, (DistanceArgs){.pred = y,
                                             .target = tape_constant(tape, shape_3(1, TOKENS, WIDTH), zeros),
                                             .weight = REF_NONE,
                                             .scale = tape_constant(tape, shape_0(), &half)});
    tape_gradient(tape, &loss, (double[]){1}, 1, fill);
    tape_keep(tape, grad_of(tape, x), "dx");
    Device device;
    assert_true(device_open("ref64", 1, &device));
    Program *p = program_make(tape, &device, NULL, 0);
    if (!p)
        fail_msg("%s", error_text());
    fill_parameters(&set, program_storage(p, "params"));
    double *in = program_input(p, "x");
    for (int i = 0; i < TOKENS * WIDTH; i++)
        in[i] = (float)cos(0.9 * i + 0.017 * i * i);
    program_run(p, SEGMENT_ONLY);
    const double *out = program_kept(p, SEGMENT_ONLY, "y"), *gradient = program_storage(p, "params.grad");
    double sum = 0;
    for (int i = 0; i < TOKENS * WIDTH; i++)
        sum += out[i];
    for (int i = 0; i < 8; i++)
        near(out[i], expect->first[i], 2e-5);
    near(sum, expect->sum, 2e-5);
    near(squares(out, TOKENS * WIDTH), expect->squares, 1e-5 * expect->squares);
    for (int i = 0; i < count; i++)
        near(gradient_squares(&set, gradient, names[i]), grads[i], 1e-5 * grads[i]);
    if (input_squares > 0)
        near(squares(program_kept(p, SEGMENT_ONLY, "dx"), TOKENS * WIDTH), input_squares, 1e-5 * input_squares);
    program_free(p);
    tape_free(tape);
    param_set_free(&set);
}

static BlockConfig small_block(void)
{
    return (BlockConfig){
        .width = 8, .heads = 2, .mlp_ratio = 2, .norm_eps = 1e-6, .activation = ACTIVATION_GELU, .family = FAMILY_XAVIER};
}

static void block_matches_check_a1(void **state)
{
    (void)state;
    BlockConfig c = small_block();
    const Expect expect = {
        {3.876665, -2.605685, 1.267921, -.826489, .095486, 1.055130, 1.653218, .681841}, 16.928322, 131.126033};
    static const char *const names[] = {"attn.qkv.weight", "attn.qkv.bias", "norm1.weight", "mlp.fc1.weight"};
    static const double grads[] = {8927.212210, 1623.958696, 417.894158, 5351.419912};
    check_block(&c, &expect, names, grads, 4, 1010.313891);
}

static void block_matches_check_a3_quick_gelu(void **state)
{
    (void)state;
    BlockConfig c = small_block();
    c.activation = ACTIVATION_QUICK_GELU;
    const Expect expect = {
        {3.890535, -2.602035, 1.267913, -.826776, .086020, 1.054324, 1.660775, .680451}, 16.914808, 131.450220};
    check_block(&c, &expect, NULL, NULL, 0, 0); /* the spec gives no gradients here */
}

static void block_matches_check_a4_layer_scale(void **state)
{
    (void)state;
    BlockConfig c = small_block();
    c.layer_scale = 1;
    const Expect expect = {
        {3.308928, -2.523924, 1.579323, -.742346, -.028696, 1.158345, 1.762179, .635075}, 17.001912, 120.562426};
    static const char *const names[] = {"ls1.gamma", "ls2.gamma"};
    static const double grads[] = {1535.433365, 526.509732};
    check_block(&c, &expect, names, grads, 2, 837.638182);
}

static void sincos_table_matches_the_spec(void **state)
{
    (void)state;
    float table[13 * 8];
    position_sincos(3, 4, 8, true, table);
    static const double anchor[] = {.909297, .019999, -.416147, .999800, .841471, .01, .540302, .999950};
    for (int i = 0; i < 8; i++) {
        near(table[i], 0, 0);
        near(table[(1 + 1 * 4 + 2) * 8 + i], anchor[i], 1e-6);
    }
}

static void resized_table_matches_the_spec(void **state)
{
    (void)state;
    const float map[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    float out[25];
    position_resize(map, 3, 3, 1, false, 5, 5, out);
    static const double row0[] = {-.384, .028, .712, 1.396, 1.808}, row2[] = {2.904, 3.316, 4, 4.684, 5.096};
    for (int i = 0; i < 5; i++) {
        near(out[i], row0[i], 1e-5);
        near(out[10 + i], row2[i], 1e-5);
    }
}

static void weights_start_as_their_family_says(void **state)
{
    (void)state;
    ParamSet set = {0};
    enum { OUT = 96, IN = 64 };
    const struct {
        const char *name;
        Init init;
        double deviation, limit;
    } cases[] = {
        {"xavier", init_weight(FAMILY_XAVIER, OUT, IN, 3), sqrt(2.0 / (OUT + IN)), sqrt(6.0 / (OUT + IN))},
        {"beit", init_weight(FAMILY_BEIT, OUT, IN, -1), .010791, .02},
        {"beit.branch", init_weight(FAMILY_BEIT, OUT, IN, 1), .010791 / 2, .01},
        {"patch.bias", init_patch_bias(FAMILY_XAVIER, 48), 1 / sqrt(3 * 48.0), 1 / sqrt(48.0)},
        {"token", init_token(FAMILY_XAVIER), .02, .2},
        {"constant", init_constant(0.1), 0, .1000001},
    };
    enum { CASES = sizeof cases / sizeof *cases };
    for (int i = 0; i < CASES; i++)
        assert_int_equal(param_add(&set, cases[i].name, shape_2(OUT, IN), PARAM_TRAINED, cases[i].init, true, 0), i);
    float *weights = memory_new((size_t)set.trained_count, sizeof *weights),
          *again = memory_new((size_t)set.trained_count, sizeof *again);
    float none[1];
    init_params(&set, 7, 0, weights, none);
    for (int i = 0; i < CASES; i++) {
        const float *w = weights + set.params[i].offset;
        double mean = 0, square = 0;
        for (int k = 0; k < OUT * IN; k++) {
            mean += w[k] / (OUT * IN);
            assert_true(fabs(w[k]) <= cases[i].limit);
        }
        for (int k = 0; k < OUT * IN; k++)
            square += (w[k] - mean) * (w[k] - mean) / (OUT * IN);
        near(sqrt(square), cases[i].deviation, 0.04 * cases[i].deviation + 1e-7);
    }
    init_params(&set, 7, 0, again, none);
    assert_memory_equal(weights, again, (size_t)set.trained_count * sizeof *weights);
    init_params(&set, 8, 0, again, none);
    assert_memory_not_equal(weights, again, (size_t)set.trained_count * sizeof *weights);
    memory_free(weights);
    memory_free(again);
    param_set_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_matches_check_a1),
        cmocka_unit_test(block_matches_check_a3_quick_gelu),
        cmocka_unit_test(block_matches_check_a4_layer_scale),
        cmocka_unit_test(sincos_table_matches_the_spec),
        cmocka_unit_test(resized_table_matches_the_spec),
        cmocka_unit_test(weights_start_as_their_family_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
