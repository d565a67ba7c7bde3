/* The learning rate against the golden case and the anchors of docs/spec/pretraining.md 15.5; masks and micro-batches. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/error.h"
#include "formats/safetensors.h"
#include "mim/mask.h"
#include "train/schedule.h"
#include "train/settle.h"

static double number(const json_t *entry, const char *key, double otherwise)
{
    const json_t *value = json_object_get(entry, key);
    return value ? json_number_value(value) : otherwise;
}

static void golden_rates_hold(void **state)
{
    (void)state;
    json_error_t error;
    json_t *root = json_load_file(LACUNA_SOURCE "/tests/golden/schedule.json", 0, &error);
    SafeTensors *expected = safetensors_open(LACUNA_SOURCE "/tests/golden/schedule.safetensors");
    assert_non_null(root);
    assert_non_null(expected);
    const json_t *settings = json_object_get(json_object_get(root, "case"), "settings");
    assert_true(json_array_size(settings) > 3);
    for (size_t i = 0; i < json_array_size(settings); i++) {
        const json_t *entry = json_array_get(settings, i), *list = json_object_get(entry, "stages");
        double stages[8], per_epoch = number(entry, "steps_per_epoch", 1);
        int count = (int)json_array_size(list);
        for (int s = 0; s < count; s++)
            stages[s] = json_number_value(json_array_get(list, (size_t)s));
        Recipe r;
        recipe_defaults(&r);
        r.schedule.batch_size = (int)number(entry, "batch_size", 0);
        r.schedule.epochs = (int)number(entry, "epochs", 0);
        r.schedule.warmup_epochs = number(entry, "warmup_epochs", 0);
        r.schedule.min_lr = number(entry, "min_lr", 0);
        r.schedule.blr = number(entry, "blr", RECIPE_AUTO);
        r.schedule.lr = number(entry, "lr", RECIPE_AUTO);
        char name[32];
        snprintf(name, sizeof name, "expect.lr.%zu", i);
        const SafeTensor *t = safetensors_find(expected, name);
        assert_non_null(t);
        float rates[64];
        assert_true(safetensor_count(t) <= 64);
        safetensor_to_f32(t, rates);
        for (size_t s = 0; s < safetensor_count(t); s++) {
            double rate = schedule_rate_of(&r, stages, count, (double)s / per_epoch);
            if (fabs(rate - (double)rates[s]) > 1e-6 * fabs((double)rates[s]))
                fail_msg("setting %zu, step %zu: %g instead of %g", i, s, rate, (double)rates[s]);
        }
    }
    safetensors_close(expected);
    json_decref(root);
}

static void anchors_of_the_page_hold(void **state)
{
    (void)state;
    Recipe r;
    recipe_defaults(&r); /* MAE's: batch 4096, 800 epochs, warm-up 40, blr 1.5e-4 */
    assert_true(schedule_rate(&r, 0) == 0);
    assert_true(fabs(schedule_rate(&r, 1.0 / 312) - 1.923e-7) < 1e-10);
    assert_true(fabs(schedule_rate(&r, 40) - 2.4e-3) < 1e-15);
    assert_true(fabs(schedule_rate(&r, 420) - 1.2e-3) < 1e-15);
    r.schedule.warmup_epochs = 0;
    assert_true(schedule_rate(&r, 0) == recipe_lr(&r));
    r.schedule.min_lr = 1e-5;
    assert_true(schedule_rate(&r, 799.9) > 1e-5);
    assert_true(schedule_rate(&r, 799.9) < 1.1e-5);
}

/* Each patch stays as often as any other, and so does each pair. */
static void masks_are_uniform(void **state)
{
    (void)state;
    enum { PLACES = 9, VISIBLE = 3, DRAWS = 20000 };
    int stays[PLACES] = {0}, both = 0;
    for (int d = 0; d < DRAWS; d++) {
        uint8_t hidden[PLACES];
        int count = 0;
        Random random = random_stream(3, RANDOM_MASK, 0, 0, (uint64_t)d);
        mask_random(&random, PLACES, VISIBLE, hidden);
        for (int i = 0; i < PLACES; i++) {
            stays[i] += !hidden[i];
            count += !hidden[i];
        }
        assert_int_equal(count, VISIBLE);
        both += !hidden[2] && !hidden[8];
    }
    for (int i = 0; i < PLACES; i++)
        assert_true(abs(stays[i] - DRAWS / 3) < 5 * 67); /* five deviations */
    assert_true(abs(both - DRAWS / 12) < 5 * 39);
}

static void micro_batches_divide(void **state)
{
    (void)state;
    Recipe r;
    recipe_defaults(&r);
    r.schedule.batch_size = 4096;
    assert_int_equal(settle_micro_batch(&r), 32);
    r.schedule.batch_size = 96;
    assert_int_equal(settle_micro_batch(&r), 32);
    r.schedule.batch_size = 97; /* a prime number */
    assert_int_equal(settle_micro_batch(&r), 1);
    if (!recipe_load(&r, LACUNA_SOURCE "/recipes/mae-cifar10.yaml"))
        fail_msg("%s", error_text());
    assert_int_equal(settle_micro_batch(&r), 256);
    settle_recipe(&r, 995);
    assert_int_equal(r.schedule.accumulate, 1);
    assert_int_equal(r.run.save_steps, 100);
    assert_true(r.run.threads >= 1);
}

/* A tenth from each of the epochs on, and the warm-up as ever. */
static void steps_down(void **state)
{
    (void)state;
    Recipe r;
    recipe_defaults(&r);
    assert_true(recipe_set(&r, "schedule={kind: multistep, steps: [6, 8], epochs: 10, warmup_epochs: 2, lr: 1}") &&
                recipe_check(&r));
    static const double epochs[] = {0, 1, 2, 5.99, 6, 7.5, 8, 9.9}, rates[] = {0, 0.5, 1, 1, 0.1, 0.1, 0.01, 0.01};
    for (size_t i = 0; i < sizeof epochs / sizeof *epochs; i++)
        assert_float_equal(schedule_rate(&r, epochs[i]), rates[i], 1e-9);
    static const char *const refused[] = {"schedule.min_lr=0.1", "schedule.steps=[1]", "schedule.steps=[]",
                                          "schedule.kind=cosine"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        Recipe other = r;
        assert_true(recipe_set(&other, refused[i]));
        assert_false(recipe_check(&other));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_rates_hold), cmocka_unit_test(anchors_of_the_page_hold),
        cmocka_unit_test(masks_are_uniform), cmocka_unit_test(micro_batches_divide),
        cmocka_unit_test(steps_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
