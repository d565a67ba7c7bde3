/* A classifier learns, counts each picture once however the batch is cut, and refuses what is no label. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "train/trainer.h"

enum { SIDE = 16, NUMBERS = 3 * SIDE * SIDE, BATCH = 8, CLASSES = 3 };

static float images[BATCH * NUMBERS];
static int32_t labels[BATCH];
static Recipe recipe;

/* Pictures of noise, each class brighter in another corner. */
static int begin(void **state)
{
    (void)state;
    static const char text[] = "image: {size: 16}\n"
                               "encoder: {patch: 4, width: 16, depth: 2, heads: 2}\n"
                               "decoders: []\n"
                               "head: {classes: 3, pool: class_token, init_std: 0.02}\n"
                               "loss: {kind: cross_entropy, smoothing: 0.1}\n"
                               "schedule: {batch_size: 8}\n";
    Random random = random_stream(3, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < BATCH; i++) {
        labels[i] = i % CLASSES;
        for (int k = 0; k < NUMBERS; k++) {
            int y = k / SIDE % SIDE, x = k % SIDE, corner = (y >= SIDE / 2) * 2 + (x >= SIDE / 2);
            images[i * NUMBERS + k] = (float)(0.3 * random_normal(&random) + (corner == labels[i]));
        }
    }
    if (!recipe_parse(&recipe, text, sizeof text - 1, "the test") || !recipe_check(&recipe))
        fail_msg("%s", error_text());
    return 0;
}

static Trainer *open_trainer(int micro_batch)
{
    TrainerOptions options = {.batch = BATCH, .micro_batch = micro_batch};
    assert_true(device_open("cpu", 1, &options.device));
    Trainer *t = trainer_open(&recipe, &options);
    if (!t)
        fail_msg("%s", error_text());
    return t;
}

static TrainerMetrics step(Trainer *t, double lr)
{
    TrainerMetrics m;
    TrainerBatch batch = {.images = images, .labels = labels, .lr = lr};
    if (!trainer_step(t, &batch, &m))
        fail_msg("%s", error_text());
    assert_true(m.finite);
    return m;
}

static void labels_are_learnt(void **state)
{
    (void)state;
    static const char *const pools[] = {"head.pool=class_token", "head.pool=mean"};
    for (int k = 0; k < 2; k++) {
        assert_true(recipe_set(&recipe, pools[k]));
        Trainer *t = open_trainer(BATCH);
        /* A head that knows nothing, then one that knows all; smoothing 0.1 leaves -0.9333 log 0.9333 - 2 x 0.0333 log 0.0333.
         */
        assert_true(fabs(step(t, 3e-3).loss - log(CLASSES)) < 0.1);
        for (int i = 0; i < 60; i++)
            step(t, 3e-3);
        TrainerMetrics m = step(t, 0);
        assert_true(m.accuracy == 1);
        assert_true(m.loss > 0.2911 && m.loss < 0.35);
        /* The encoder's norm is in the model when the class token stands behind it. */
        assert_true((param_find(trainer_params(t), "norm.weight") >= 0) == (k == 0));
        assert_true((param_find(trainer_params(t), "fc_norm.weight") >= 0) == (k == 1));
        trainer_close(t);
    }
}

static void cuts_change_rounding_only(void **state)
{
    (void)state;
    Trainer *whole = open_trainer(BATCH), *parts = open_trainer(2);
    for (int i = 0; i < 3; i++) {
        TrainerMetrics a = step(whole, 1e-3), b = step(parts, 1e-3);
        assert_true(fabs(a.loss - b.loss) < 1e-5 * a.loss && a.accuracy == b.accuracy);
        assert_true(fabs(a.grad_norm - b.grad_norm) < 1e-4 * a.grad_norm);
    }
    /* 7 pictures fill no program of 2, 8 or 4. */
    TrainerMetrics a, b;
    TrainerBatch batch = {.images = images, .labels = labels};
    assert_true(trainer_evaluate(whole, &batch, 7, &a) && trainer_evaluate(parts, &batch, 7, &b));
    assert_true(fabs(a.loss - b.loss) < 1e-4 * a.loss && fabs(a.accuracy - b.accuracy) < 1e-6);
    double sum = 0, hits = 0;
    for (int i = 0; i < 7; i++) {
        TrainerBatch one = {.images = images + i * NUMBERS, .labels = labels + i};
        assert_true(trainer_evaluate(whole, &one, 1, &b));
        sum += b.loss / 7;
        hits += b.accuracy / 7;
    }
    assert_true(fabs(a.loss - sum) < 1e-5 * a.loss && fabs(a.accuracy - hits) < 1e-6);
    trainer_close(whole);
    trainer_close(parts);
}

static void what_is_no_label_is_refused(void **state)
{
    (void)state;
    Trainer *t = open_trainer(BATCH);
    TrainerMetrics m;
    TrainerBatch batch = {.images = images, .labels = labels};
    labels[5] = CLASSES;
    assert_false(trainer_step(t, &batch, &m));
    assert_non_null(strstr(error_text(), "picture 5"));
    labels[5] = -1;
    assert_false(trainer_evaluate(t, &batch, BATCH, &m));
    assert_true(trainer_evaluate(t, &batch, 5, &m));
    batch.labels = NULL;
    assert_false(trainer_step(t, &batch, &m));
    trainer_close(t);
    recipe.head.classes = RECIPE_AUTO;
    TrainerOptions options = {.batch = BATCH, .micro_batch = BATCH};
    assert_true(device_open("cpu", 1, &options.device));
    assert_null(trainer_open(&recipe, &options));
    assert_non_null(strstr(error_text(), "head.classes"));
}

/* ema.decay: average += (1 - decay) (weights - average), from the first weights on. */
static void averages_follow_each_step(void **state)
{
    (void)state;
    enum { WATCHED = 40 };
    double expect[WATCHED];
    recipe.ema.decay = 0.75;
    Trainer *t = open_trainer(BATCH);
    for (int i = 0; i < WATCHED; i++)
        expect[i] = (double)trainer_weights(t)[i];
    for (int k = 0; k < 5; k++) {
        step(t, 1e-2);
        for (int i = 0; i < WATCHED; i++) {
            expect[i] += 0.25 * ((double)trainer_weights(t)[i] - expect[i]);
            assert_true(fabs((double)trainer_average(t)[i] - expect[i]) < 1e-6);
        }
    }
    assert_true(memcmp(trainer_average(t), trainer_weights(t), WATCHED * sizeof(float)) != 0);
    trainer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(labels_are_learnt, begin), cmocka_unit_test_setup(cuts_change_rounding_only, begin),
        cmocka_unit_test_setup(what_is_no_label_is_refused, begin), cmocka_unit_test_setup(averages_follow_each_step, begin)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
