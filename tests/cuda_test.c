/* The device `cuda` as a whole. In the tests of every machine it is the lock-step build of the same kernels above the fake
 * runtime, on small programs; `./dev test-gpu` builds this file for a GPU, with LACUNA_ON_GPU. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#ifndef LACUNA_ON_GPU
#include "device/cuda/fake.h"
#include "device/cuda/lockstep_control.h"
#endif
#include "ops/check.h"
#include "ops/ops.h"
#include "run_program.h"
#include "train/trainer.h"

#ifdef LACUNA_ON_GPU
enum { STEPS = 100, WIDTH = 192, DEPTH = 6, HEADS = 3, PATCH = 4 };
#else
enum { STEPS = 6, WIDTH = 16, DEPTH = 1, HEADS = 2, PATCH = 8 };
#endif
enum { BATCH = 4, SIDE = 32, NUMBERS = 3 * SIDE * SIDE, PLACES = SIDE * SIDE / PATCH / PATCH };

static Device open_device(const char *name)
{
    Device device;
    if (!device_open(name, 2, &device))
        fail_msg("%s", error_text());
    return device;
}

/* ---- ops */

static int compare_ops(DType activation, double tolerance)
{
    Device ref = open_device("ref64"), cuda = open_device("cuda");
    int compared = 0;
    for (int i = 0; ops_at(i); i++)
        for (int k = 0; ops_at(i)->example; k++) {
            CheckResult expect, got;
            CheckOutcome outcome = check_run(ops_at(i)->example, k, activation, &ref, &expect);
            if (outcome == CHECK_END)
                break;
            if (outcome == CHECK_ERROR || check_run(ops_at(i)->example, k, activation, &cuda, &got) != CHECK_DONE)
                fail_msg("%s, example %d: %s", ops_at(i)->name, k, error_text());
            double error = check_difference(&got, &expect);
            if (!(error <= tolerance))
                fail_msg("%s, example %d on %s: off by %g", ops_at(i)->name, k, device_describe(&cuda), error);
            check_free(&expect);
            check_free(&got);
            compared++;
        }
    device_close(&cuda);
    return compared;
}

static void ops_match_the_reference(void **state)
{
    (void)state;
    assert_true(compare_ops(DTYPE_REAL, 2e-4) > 30);
    assert_true(compare_ops(DTYPE_BF16, 0.06) > 30);
}

/* ---- golden cases, through the program */

/* Those whose ops all have kernels for a GPU. */
static const char *const cases[] = {
    "accumulation",  "adamw_eps",         "analysis_vit",     "mocov3",         "vit_cls_avg",
    "vit_cls_token", "beit_tokens",       "block_mask",       "clip",           "dbot_normalised",
    "dbot_raw",      "dbot_stages",       "deepmim_features", "deepmim_pixels", "drop_path",
    "loss_all",      "loss_l1",           "loss_cosine",      "loss_smooth_l1", "mae_normpix",
    "mae_pixels",    "dbot_stages_reset", "mae_rect",         "maskfeat_hog",   "mixed_targets",
    "quick_gelu",    "simmim_vit",        "simmim_window"};
enum { CASES = sizeof cases / sizeof *cases };

static void golden_cases_agree(void **state)
{
    (void)state;
    static const char *const ways[] = {"--precision f32", "--precision bf16 --plain"};
    char files[4096], agree[64];
    size_t length = 0;
    for (int i = 0; i < CASES; i++)
        length +=
            (size_t)snprintf(files + length, sizeof files - length, " '%s/tests/golden/%s.json'", LACUNA_SOURCE, cases[i]);
    assert_true(length < sizeof files);
    snprintf(agree, sizeof agree, "%d of %d cases agree\n", CASES, CASES);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        Ran ran = run_program("parity --device cuda %s %s", ways[i], files);
        if (ran.code != 0 || strstr(ran.out, "FAIL") || !strstr(ran.out, agree))
            fail_msg("parity --device cuda %s: exit %d\n%s%s", ways[i], ran.code, ran.err, ran.out);
        ran_free(&ran);
    }
}

/* ---- training */

static float images[2][BATCH * NUMBERS];
static uint8_t hidden[2][BATCH * PLACES];

static int draw_input(void **state)
{
    (void)state;
    Random random = random_stream(1, RANDOM_TEST, 0, 0, 0);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < BATCH * NUMBERS; i++)
            images[k][i] = (float)random_normal(&random);
        for (int i = 0; i < BATCH * PLACES; i++)
            hidden[k][i] = (i + k + i / PLACES) % 4 != 0;
    }
    return 0;
}

static Trainer *open_trainer(const Device *device, RunPrecision precision, int micro_batch)
{
    char text[1024];
    Recipe recipe;
    snprintf(text, sizeof text,
             "image: {size: %d}\n"
             "encoder: {patch: %d, width: %d, depth: %d, heads: %d}\n"
             "decoders: [{tap: last, width: 16, depth: 1, heads: 2}]\n"
             "target: {normalise: patch}\n"
             "optimizer: {clip: 1}\n"
             "schedule: {batch_size: %d}\n"
             "run: {seed: 3}\n",
             SIDE, PATCH, WIDTH, DEPTH, HEADS, BATCH);
    assert_true(recipe_parse(&recipe, text, strlen(text), "the test's recipe") && recipe_check(&recipe));
    recipe.run.precision = precision;
    Trainer *t = trainer_open(&recipe, &(TrainerOptions){.device = *device, .batch = BATCH, .micro_batch = micro_batch});
    if (!t)
        fail_msg("%s", error_text());
    return t;
}

static TrainerBatch batch_of(int step)
{
    return (TrainerBatch){.images = images[step % 2], .hidden = hidden[step % 2], .lr = 1e-3};
}

/* What a GPU would not say: a kernel did what is undefined there. */
static int check_lockstep(void **state)
{
    (void)state;
#ifndef LACUNA_ON_GPU
    if (!lockstep_ok())
        fail_msg("%s", error_text());
#endif
    return 0;
}

static void step_once(Trainer *t, int step, TrainerMetrics *metrics)
{
    TrainerBatch batch = batch_of(step);
    if (!trainer_step(t, &batch, metrics))
        fail_msg("step %d: %s", step, error_text());
    assert_true(metrics->finite);
}

static void losses_are_the_processors(void **state)
{
    (void)state;
    Device cpu = open_device("cpu"), cuda = open_device("cuda");
    for (int parts = 1; parts <= 2; parts++) {
        Trainer *a = open_trainer(&cpu, RUN_PRECISION_F32, BATCH / parts),
                *b = open_trainer(&cuda, RUN_PRECISION_F32, BATCH / parts);
        for (int i = 0; i < STEPS; i++) {
            TrainerMetrics expect, got;
            step_once(a, i, &expect);
            step_once(b, i, &got);
            if (!(fabs(got.loss - expect.loss) <= 0.01 * expect.loss))
                fail_msg("step %d: loss %g instead of %g", i, got.loss, expect.loss);
        }
        TrainerMetrics expect, got;
        assert_true(trainer_evaluate(a, &(TrainerBatch){.images = images[0], .hidden = hidden[0]}, BATCH - 1, &expect) &&
                    trainer_evaluate(b, &(TrainerBatch){.images = images[0], .hidden = hidden[0]}, BATCH - 1, &got));
        assert_true(fabs(got.loss - expect.loss) <= 0.01 * expect.loss);
        trainer_close(a);
        trainer_close(b);
    }
    device_close(&cuda);
}

typedef enum { WAY_WAITS, WAY_LATE, WAY_AHEAD, WAYS } Way;

/* TF32 rounds operands to ten bits, on a GPU; results stay near. */
static void tf32_is_near(void **state)
{
    (void)state;
    Device cpu = open_device("cpu"), cuda = open_device("cuda");
    device_set_tf32(&cuda, true);
    Trainer *a = open_trainer(&cpu, RUN_PRECISION_F32, BATCH), *b = open_trainer(&cuda, RUN_PRECISION_F32, BATCH);
    for (int i = 0; i < STEPS; i++) {
        TrainerMetrics expect, got;
        step_once(a, i, &expect);
        step_once(b, i, &got);
        assert_true(fabs(got.loss - expect.loss) <= 0.01 * expect.loss);
    }
    trainer_close(a);
    trainer_close(b);
    device_close(&cuda);
    device_close(&cpu);
}

/* The weights after so many steps; with WAY_LATE each step is begun before the last one's metrics are read, with WAY_AHEAD its
 * first part is uploaded before. Owned by the caller. */
static float *weights_after(const Device *device, RunPrecision precision, int steps, Way way, size_t *bytes)
{
    Trainer *t = open_trainer(device, precision, BATCH / 2);
    TrainerMetrics metrics;
    for (int i = 0; i < steps; i++) {
        TrainerBatch batch = batch_of(i);
        assert_true(trainer_begin(t, &batch));
        batch = batch_of(i + 1);
        assert_true(way != WAY_AHEAD || trainer_ahead(t, &batch));
        if (way != WAY_LATE || i > 0)
            assert_true(trainer_end(t, &metrics) && metrics.finite);
    }
    if (way == WAY_LATE)
        assert_true(trainer_end(t, &metrics) && metrics.finite);
    *bytes = (size_t)trainer_params(t)->trained_count * sizeof(float);
    float *copy = malloc(*bytes);
    TrainerState state;
    assert_true(copy && trainer_fetch(t, &state));
    memcpy(copy, state.weights, *bytes);
    trainer_close(t);
    return copy;
}

static void graphs_and_overlap_change_no_bit(void **state)
{
    (void)state;
    Device cuda = open_device("cuda");
    for (int p = 0; p < 2; p++) {
        RunPrecision precision = p ? RUN_PRECISION_BF16 : RUN_PRECISION_F32;
        size_t bytes;
        cuda.one_by_one = true;
        float *expect = weights_after(&cuda, precision, 3, WAY_WAITS, &bytes);
        cuda.one_by_one = false;
        for (Way way = 0; way < WAYS; way++) {
            float *got = weights_after(&cuda, precision, 3, way, &bytes);
            assert_memory_equal(got, expect, bytes);
            free(got);
        }
        free(expect);
    }
    device_close(&cuda);
}

/* The fake takes the orders of the lanes that differ most; a GPU takes its own. */
static int next_order(int order)
{
#ifdef LACUNA_ON_GPU
    return order < 0 ? 0 : -1;
#else
    static const FakeOrder orders[] = {FAKE_ASIDE_LAST, FAKE_ASIDE_FIRST, FAKE_IN_TURN};
    order = order + 1 < (int)(sizeof orders / sizeof *orders) ? order + 1 : -1;
    fake_set_order(order < 0 ? FAKE_AS_PUT : orders[order]);
    return order;
#endif
}

static void begin_counting(void)
{
#ifndef LACUNA_ON_GPU
    fake_log_clear();
#endif
}

static bool anything_overtook(void)
{
#ifndef LACUNA_ON_GPU
    return fake_overtaking() > 0;
#else
    return true; /* a GPU does not tell */
#endif
}

static void a_second_lane_changes_no_bit(void **state)
{
    (void)state;
    Device cuda = open_device("cuda");
    for (int p = 0; p < 2; p++) {
        RunPrecision precision = p ? RUN_PRECISION_BF16 : RUN_PRECISION_F32;
        size_t bytes;
        cuda.second_lane = false;
        float *expect = weights_after(&cuda, precision, 3, WAY_AHEAD, &bytes);
        bool overtook = false;
        cuda.second_lane = true;
        for (int order = next_order(-1); order >= 0; order = next_order(order)) {
            begin_counting();
            float *got = weights_after(&cuda, precision, 3, WAY_AHEAD, &bytes);
            assert_memory_equal(got, expect, bytes);
            overtook = overtook || anything_overtook();
            free(got);
        }
        assert_true(overtook);
        free(expect);
    }
    device_close(&cuda);
}

/* What the host reads after two steps is all that the next ones depend on. */
static void a_copy_goes_on_with_the_same_bits(void **state)
{
    (void)state;
    Device cuda = open_device("cuda");
    Trainer *whole = open_trainer(&cuda, RUN_PRECISION_BF16, BATCH), *other = open_trainer(&cuda, RUN_PRECISION_BF16, BATCH);
    TrainerMetrics a, b;
    step_once(whole, 0, &a);
    step_once(whole, 1, &a);
    size_t bytes = (size_t)trainer_params(whole)->trained_count * sizeof(float);
    TrainerState learnt;
    assert_true(trainer_fetch(whole, &learnt));
    memcpy(trainer_weights(other), learnt.weights, bytes);
    memcpy(trainer_moment1(other), learnt.moment1, bytes);
    memcpy(trainer_moment2(other), learnt.moment2, bytes);
    trainer_set_steps(other, trainer_steps(whole));
    for (int i = 2; i < 4; i++) {
        step_once(whole, i, &a);
        step_once(other, i, &b);
        assert_true(a.loss == b.loss && a.grad_norm == b.grad_norm);
    }
    assert_memory_equal(trainer_weights(whole), trainer_weights(other), bytes);
    trainer_close(whole);
    trainer_close(other);
    device_close(&cuda);
}

/* What one device has timed another takes over, and computes the same bits. */
static void timed_algorithms_go_on(void **state)
{
    (void)state;
    Text text = {0};
    bool fits;
    size_t bytes;
    float *weights[2];
    for (int i = 0; i < 2; i++) {
        Device cuda = open_device("cuda");
        device_set_autotune(&cuda, true);
        if (i && !device_read_timed(&cuda, text.data, &fits))
            fail_msg("%s", error_text());
        weights[i] = weights_after(&cuda, RUN_PRECISION_BF16, 3, WAY_WAITS, &bytes);
        assert_true(device_timed(&cuda) > 0);
        if (!i)
            device_write_timed(&cuda, &text);
        device_close(&cuda);
    }
    assert_true(fits);
    assert_memory_equal(weights[0], weights[1], bytes);
    free(weights[0]);
    free(weights[1]);
    text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(ops_match_the_reference, check_lockstep),
        cmocka_unit_test(golden_cases_agree),
        cmocka_unit_test_teardown(losses_are_the_processors, check_lockstep),
        cmocka_unit_test_teardown(tf32_is_near, check_lockstep),
        cmocka_unit_test_teardown(graphs_and_overlap_change_no_bit, check_lockstep),
        cmocka_unit_test_teardown(a_second_lane_changes_no_bit, check_lockstep),
        cmocka_unit_test_teardown(timed_algorithms_go_on, check_lockstep),
        cmocka_unit_test_teardown(a_copy_goes_on_with_the_same_bits, check_lockstep),
    };
    return cmocka_run_group_tests(tests, draw_input, NULL);
}
