/* Masked image modelling on the tape: what can be kept, what a set of parameters holds, what masks are accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "mim/mask.h"
#include "mim/model.h"

static Recipe recipe;

static int begin(void **state)
{
    (void)state;
    static const char text[] = "image: {size: 16}\n"
                               "encoder: {patch: 4, width: 16, depth: 3, heads: 2, drop_path: 0.2}\n"
                               "decoders:\n"
                               "  - {tap: 2, width: 8, depth: 1, heads: 2}\n"
                               "  - {tap: last, width: 8, depth: 2, heads: 2, drop_path: 0.4}\n";
    assert_true(recipe_parse(&recipe, text, sizeof text - 1, "the test's recipe"));
    return 0;
}

/* Any named value can be asked for, under its name in the model. */
static void blocks_can_be_kept(void **state)
{
    (void)state;
    Mim mim;
    ParamSet set = {0};
    Ref losses[RECIPE_DECODERS_MAX];
    Device device;
    Tape *tape = tape_new();
    assert_true(device_open("ref", 1, &device) && mim_open(&mim, &recipe, NULL, NULL, 2, false, true, false));
    tape_keep_matching(tape, "blocks.*");
    tape_segment(tape, SEGMENT_EVALUATE);
    tape_use_params(tape, &set, "params", false);
    mim_forward(tape, &mim, losses);
    Program *p = program_make(tape, &device, NULL, 0);
    if (!p)
        fail_msg("%s", error_text());
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"blocks.0", "blocks.1", "blocks.2"};
        assert_non_null(program_kept(p, SEGMENT_EVALUATE, names[i]));
        const Shape *shape = program_shape(p, SEGMENT_EVALUATE, names[i]);
        assert_int_equal(shape->n, 3);
        assert_int_equal(shape->d[0], 2);
        assert_int_equal(shape->d[1], 1 + 4);
        assert_int_equal(shape->d[2], 16);
    }
    assert_null(program_kept(p, SEGMENT_EVALUATE, "embed"));
    program_free(p);
    tape_free(tape);
    param_set_free(&set);
}

/* Blocks behind the last tap are parameters, but nobody's work. */
static void blocks_that_no_loss_reads_are_left_out(void **state)
{
    (void)state;
    size_t steps[2];
    for (int depth = 2; depth <= 3; depth++) {
        Mim mim;
        ParamSet set = {0};
        Ref losses[RECIPE_DECODERS_MAX];
        Device device;
        Tape *tape = tape_new();
        recipe.decoder_count = 1; /* tap 2 */
        recipe.encoder.depth = depth;
        assert_true(device_open("ref", 1, &device) && mim_open(&mim, &recipe, NULL, NULL, 2, false, false, false));
        tape_segment(tape, SEGMENT_ONLY);
        tape_use_params(tape, &set, "params", true);
        mim_forward(tape, &mim, losses);
        tape_keep(tape, losses[0], "loss");
        Program *p = program_make(tape, &device, NULL, 0);
        if (!p)
            fail_msg("%s", error_text());
        assert_true((param_find(&set, "blocks.2.mlp.fc2.weight") >= 0) == (depth == 3));
        steps[depth - 2] = program_step_count(p, SEGMENT_ONLY);
        program_free(p);
        tape_free(tape);
        param_set_free(&set);
    }
    assert_int_equal(steps[0], steps[1]);
}

/* docs/spec/pretraining.md 5.2: the rate rises linearly from 0, in the encoder and in each decoder by itself. */
static void drop_path_rises_from_zero(void **state)
{
    (void)state;
    Mim mim;
    assert_true(mim_open(&mim, &recipe, NULL, NULL, 2, false, false, false));
    static const double rates[] = {0, 0, .1, .1, .2, .2, 0, 0, 0, 0, .4, .4};
    assert_int_equal(mim.drop.count, 12);
    for (int b = 0; b < 12; b++)
        assert_true(mim.drop.rates[b] == rates[b]);
}

static void masks_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    Mim mim;
    int64_t count;
    uint8_t hidden[32];
    assert_true(mim_open(&mim, &recipe, NULL, NULL, 2, false, false, false));
    for (int i = 0; i < 32; i++)
        hidden[i] = i % 16 < 12;
    assert_true(mim_accepts(&mim, hidden, 2, &count));
    assert_int_equal(count, 24);
    hidden[31] = 1;
    assert_false(mim_accepts(&mim, hidden, 2, &count));
    assert_non_null(strstr(error_text(), "picture 1 hides 13 of 16"));
    recipe.encoder.input = ENCODER_INPUT_MASK_TOKEN;
    assert_true(mim_open(&mim, &recipe, NULL, NULL, 2, false, false, false));
    assert_false(mim_accepts(&mim, hidden, 2, &count));
    recipe.mask.kind = MASK_BLOCK;
    assert_true(mim_open(&mim, &recipe, NULL, NULL, 2, false, false, false));
    assert_true(mim_accepts(&mim, hidden, 2, &count));
    assert_int_equal(count, 25);
    memset(hidden, 0, sizeof hidden);
    assert_false(mim_accepts(&mim, hidden, 2, &count));
    assert_false(mim_open(&mim, &recipe, NULL, NULL, (int64_t)1 << 28, false, false, false));
    assert_non_null(strstr(error_text(), "run.micro_batch"));
}

/* As many visible as asked for, each place as likely as any other. */
static void random_masks_are_even(void **state)
{
    (void)state;
    enum { PLACES = 20, VISIBLE = 5, DRAWS = 4000 };
    int seen[PLACES] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint8_t hidden[PLACES];
        int visible = 0;
        Random random = random_stream(9, RANDOM_MASK, 0, 0, (uint64_t)i);
        mask_random(&random, PLACES, VISIBLE, hidden);
        for (int l = 0; l < PLACES; l++) {
            visible += !hidden[l];
            seen[l] += !hidden[l];
        }
        assert_int_equal(visible, VISIBLE);
    }
    for (int l = 0; l < PLACES; l++)
        assert_true(seen[l] > 880 && seen[l] < 1120); /* 1000 expected, deviation 27 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(blocks_can_be_kept, begin),
        cmocka_unit_test_setup(blocks_that_no_loss_reads_are_left_out, begin),
        cmocka_unit_test_setup(drop_path_rises_from_zero, begin),
        cmocka_unit_test_setup(masks_that_do_not_fit_are_refused, begin),
        cmocka_unit_test_setup(random_masks_are_even, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
