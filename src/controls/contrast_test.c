/* MoCo v3: what the golden case cannot show. Pictures are told apart, the momentum encoder follows and the patch embedding
 * stays, groups are independent of each other. */
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

enum { SIDE = 16, NUMBERS = 3 * SIDE * SIDE, BATCH = 8 };

static float first[BATCH * NUMBERS], second[BATCH * NUMBERS];
static Recipe recipe;

/* Two noisy looks at each of some pictures. */
static int begin(void **state)
{
    (void)state;
    static const char text[] = "image: {size: 16}\n"
                               "data: {val_every: 0}\n"
                               "encoder: {patch: 4, width: 16, depth: 2, heads: 2, init: moco}\n"
                               "decoders: []\n"
                               "contrast: {kind: mocov3, dim: 8, hidden: 16}\n"
                               "optimizer: {decay_all: true}\n"
                               "schedule: {batch_size: 8}\n";
    Random random = random_stream(5, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < BATCH * NUMBERS; i++) {
        double x = random_normal(&random);
        first[i] = (float)(x + 0.2 * random_normal(&random));
        second[i] = (float)(x + 0.2 * random_normal(&random));
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

static TrainerMetrics step(Trainer *t, double lr, double momentum)
{
    TrainerMetrics m;
    TrainerBatch batch = {.images = first, .second = second, .lr = lr, .momentum = momentum};
    if (!trainer_step(t, &batch, &m))
        fail_msg("%s", error_text());
    assert_true(m.finite);
    return m;
}

static const float *of(const ParamSet *set, const float *numbers, const char *name)
{
    int at = param_find(set, name);
    assert_true(at >= 0);
    return numbers + set->params[at].offset;
}

static void pictures_are_told_apart(void **state)
{
    (void)state;
    Trainer *t = open_trainer(BATCH);
    TrainerMetrics begun = step(t, 2e-3, 0.9), m = begun;
    for (int i = 0; i < 80; i++)
        m = step(t, 2e-3, 0.9);
    assert_true(m.accuracy > 0.9 && m.loss < 0.7 * begun.loss);
    trainer_close(t);
}

static void the_momentum_encoder_follows(void **state)
{
    (void)state;
    static const char name[] = "blocks.1.mlp.fc1.weight", patches[] = "patch_embed.proj.weight";
    Trainer *t = open_trainer(BATCH);
    const ParamSet *own = trainer_params(t), *averaged = trainer_teacher_params(t);
    assert_true(param_find(averaged, "projector.2.weight") >= 0 && param_find(averaged, "predictor.0.weight") < 0);
    float before = of(own, trainer_weights(t), name)[0], patch = of(own, trainer_weights(t), patches)[7];
    assert_true(of(averaged, trainer_teacher_weights(t), name)[0] == before); /* it starts as a copy */
    step(t, 1e-2, 0.75);
    float after = of(own, trainer_weights(t), name)[0];
    assert_true(after != before);
    assert_true(fabs((double)of(averaged, trainer_teacher_weights(t), name)[0] - (0.75 * before + 0.25 * after)) < 1e-6);
    for (int i = 0; i < 5; i++)
        step(t, 1e-2, 0.5);
    /* Not even decay touches the patch embedding. */
    assert_true(of(own, trainer_weights(t), patches)[7] == patch);
    assert_true(of(averaged, trainer_teacher_weights(t), patches)[7] == patch);
    trainer_close(t);
}

static void groups_do_not_see_each_other(void **state)
{
    (void)state;
    Trainer *t = open_trainer(BATCH / 2);
    double before = step(t, 0, 1).loss;
    /* The second half's pictures change; the first half's part of the loss stays. Exchanging the halves changes nothing. */
    for (int i = 0; i < BATCH / 2 * NUMBERS; i++) {
        float a = first[i], b = second[i];
        first[i] = first[BATCH / 2 * NUMBERS + i];
        second[i] = second[BATCH / 2 * NUMBERS + i];
        first[BATCH / 2 * NUMBERS + i] = a;
        second[BATCH / 2 * NUMBERS + i] = b;
    }
    assert_true(fabs(step(t, 0, 1).loss - before) < 1e-5 * before);
    /* Exchanging pictures between the halves does. */
    for (int i = 0; i < NUMBERS; i++) {
        float a = first[i], b = second[i];
        first[i] = first[BATCH / 2 * NUMBERS + i];
        second[i] = second[BATCH / 2 * NUMBERS + i];
        first[BATCH / 2 * NUMBERS + i] = a;
        second[BATCH / 2 * NUMBERS + i] = b;
    }
    assert_true(fabs(step(t, 0, 1).loss - before) > 1e-4 * before);
    trainer_close(t);
}

static void incomplete_batches_are_refused(void **state)
{
    (void)state;
    Trainer *t = open_trainer(BATCH);
    TrainerMetrics m;
    assert_false(trainer_step(t, &(TrainerBatch){.images = first}, &m));
    assert_non_null(strstr(error_text(), "second view"));
    assert_false(trainer_evaluate(t, &(TrainerBatch){.images = first, .second = second}, 3, &m));
    assert_non_null(strstr(error_text(), "contrast.group"));
    trainer_close(t);
    assert_true(recipe_set(&recipe, "contrast.group=3"));
    assert_false(recipe_check(&recipe));
    assert_non_null(strstr(error_text(), "contrast.group 3"));
    assert_true(recipe_set(&recipe, "contrast.group=4") && recipe_check(&recipe));
    assert_true(recipe_set(&recipe, "run.micro_batch=8"));
    assert_false(recipe_check(&recipe));
    assert_non_null(strstr(error_text(), "run.micro_batch"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(pictures_are_told_apart, begin),
                                       cmocka_unit_test_setup(the_momentum_encoder_follows, begin),
                                       cmocka_unit_test_setup(groups_do_not_see_each_other, begin),
                                       cmocka_unit_test_setup(incomplete_batches_are_refused, begin)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
