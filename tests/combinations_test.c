/* Everything combines: each pair of choices trains, or is refused with a sentence that names both keys. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "mim/mask.h"
#include "train/teacher.h"
#include "train/trainer.h"

enum { SIDE = 16, BATCH = 4, NUMBERS = 3 * SIDE * SIDE, PLACES = 16, KEYS_MOST = 3, VALUES_MOST = 8 };

/* A key, and values that may be chosen for it. What belongs to a value is set with it. */
typedef struct {
    const char *key;
    const char *values[VALUES_MOST][KEYS_MOST];
} Choice;

static const Choice choices[] = {
    {"encoder.input", {{"encoder.input=visible"}, {"encoder.input=mask_token"}}},
    {"encoder.position",
     {{"encoder.position=sincos"},
      {"encoder.position=learned"},
      {"encoder.position=relative"},
      {"encoder.position=relative_per_block"},
      {"encoder.position=none"}}},
    {"encoder.class_token", {{"encoder.class_token=0"}, {"encoder.class_token=2"}}},
    {"encoder.qkv_bias", {{"encoder.qkv_bias=false"}, {"encoder.qkv_bias=no_k"}}},
    {"encoder.layer_scale", {{"encoder.layer_scale=0.1"}}},
    {"encoder.drop_path", {{"encoder.drop_path=0.3"}}},
    {"encoder.init", {{"encoder.init=xavier"}, {"encoder.init=beit"}, {"encoder.init=maskfeat"}, {"encoder.init=moco"}}},
    {"mask.kind",
     {{"mask.kind=random"}, {"mask.kind=block"}, {"mask.kind=unit", "mask.unit=8", "mask.ratio=0.7"}, {"mask.kind=grid"}}},
    {"decoders.0.tap", {{"decoders.0.tap=1"}, {"decoders.0.tap=2"}}},
    {"decoders.0.kind", {{"decoders.0.kind=linear"}, {"decoders.0.kind=pixel_shuffle"}}},
    {"target.kind",
     {{"target.kind=pixels"}, {"target.kind=hog", "target.cell=2"}, {"target.kind=features", "target.teacher=random"}}},
    {"target.normalise",
     {{"target.normalise=patch"}, {"target.normalise=window", "target.window=5"}, {"target.normalise=token"}}},
    {"target.class_token", {{"target.class_token=true"}}},
    {"target.final_norm", {{"target.final_norm=true"}}},
    {"loss.kind", {{"loss.kind=l1"}, {"loss.kind=smooth_l1"}, {"loss.kind=cosine"}}},
    {"loss.on", {{"loss.on=all"}}},
    {"stages", {{"stages=[{epochs: 1, teacher_depth: 0}, {epochs: 1}]"}}},
    {"schedule.kind", {{"schedule.kind=multistep", "schedule.steps=[1]"}}},
    {"schedule.accumulate", {{"schedule.accumulate=2"}}},
    {"ema.decay", {{"ema.decay=0.9"}}},
    /* Methods without decoders, which are taken away again when those above have given them something. */
    {"loss.kind", {{"loss.kind=cross_entropy", "decoders=[]", "head={classes: 3, pool: mean}"}}},
    {"contrast.kind", {{"contrast={kind: mocov3, dim: 8, hidden: 16}", "decoders=[]", "data.val_every=0"}}},
};
enum { CHOICES = sizeof choices / sizeof *choices };

/* What all of a pair's choices but the two are. With the second, choices that only a whole grid or a teacher has are possible.
 */
static const char *const grounds[][4] = {
    {"encoder.input=visible", NULL},
    {"encoder.input=mask_token", "decoders.0.kind=linear", NULL},
    {"target.kind=features", "target.teacher=random", NULL},
    {"encoder.input=mask_token", "decoders.0.kind=linear", "target.kind=features", "target.teacher=random"},
};
enum { GROUNDS = sizeof grounds / sizeof *grounds };

static float images[BATCH * NUMBERS], second[BATCH * NUMBERS];
static const int32_t labels[BATCH] = {0, 2, 1, 0};

static int begin(void **state)
{
    (void)state;
    Random random = random_stream(3, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < BATCH * NUMBERS; i++)
        images[i] = (float)random_normal(&random);
    for (int i = 0; i < BATCH * NUMBERS; i++)
        second[i] = images[i] + (float)random_normal(&random);
    return 0;
}

static bool apply(Recipe *r, const char *const *keys, int count)
{
    for (int i = 0; i < count && keys[i]; i++)
        if (!recipe_set(r, keys[i]))
            return false;
    return true;
}

/* Two steps. False with the error set when the recipe is refused; fails the test when a step is not finite. */
static bool trains(const Recipe *r, const char *what)
{
    static uint8_t hidden[BATCH * PLACES], kept[64 * BATCH];
    MimTeacher teacher;
    TrainerOptions options = {.batch = BATCH, .micro_batch = BATCH};
    if (!recipe_check(r) || !device_open("cpu", 1, &options.device))
        return false;
    if (r->schedule.accumulate > 1)
        options.micro_batch = BATCH / r->schedule.accumulate;
    if (mim_needs_teacher(r)) {
        if (!teacher_of(r, 0, &teacher))
            return false;
        options.teacher = &teacher;
    }
    Trainer *t = trainer_open(r, &options);
    if (!t)
        return false;
    memset(kept, 1, sizeof kept);
    assert_true(trainer_branches(t) * BATCH <= (int)sizeof kept);
    for (int step = 0; step < 2; step++) {
        for (int i = 0; i < BATCH; i++) {
            Random random = random_stream(3, RANDOM_MASK, 0, (uint32_t)step, (uint64_t)i);
            if (recipe_method(r) == METHOD_MASKED)
                mask_draw(r, &random, hidden + i * PLACES);
        }
        TrainerBatch batch = {
            .images = images, .second = second, .labels = labels, .hidden = hidden, .kept = kept, .lr = 1e-3, .momentum = 0.9};
        TrainerMetrics metrics;
        if (!trainer_step(t, &batch, &metrics))
            fail_msg("%s: %s", what, error_text());
        if (!metrics.finite || !isfinite(metrics.loss) || !(metrics.grad_norm > 0))
            fail_msg("%s: loss %g, norm %g", what, metrics.loss, metrics.grad_norm);
    }
    trainer_close(t);
    return true;
}

static void check_pair(const Choice *a, int i, const Choice *b, int j, int *trained, int *refused)
{
    char what[300], reasons[4096] = "";
    bool ok = false;
    snprintf(what, sizeof what, "%s with %s", a->values[i][0], b->values[j][0]);
    for (int g = 0; g < GROUNDS && !ok; g++) {
        static Recipe r;
        static const char text[] = "image: {size: 16, mean: [0, 0, 0], std: [1, 1, 1]}\n"
                                   "encoder: {patch: 4, width: 16, depth: 3, heads: 2}\n"
                                   "decoders: [{tap: last, width: 8, depth: 1, heads: 2}]\n"
                                   "schedule: {batch_size: 4, epochs: 2, warmup_epochs: 0.5}\n";
        assert_true(recipe_parse(&r, text, sizeof text - 1, "the test"));
        assert_true(apply(&r, grounds[g], 4));
        if (!apply(&r, a->values[i], KEYS_MOST) || !apply(&r, b->values[j], KEYS_MOST))
            fail_msg("%s: %s", what, error_text());
        ok = trains(&r, what);
        if (ok)
            break;
        snprintf(reasons + strlen(reasons), sizeof reasons - strlen(reasons), "\n  %s", error_text());
    }
    *trained += ok;
    *refused += !ok;
    /* Two that exclude each other by way of a third (pixel_shuffle has no token of a teacher) are named one by one. */
    if (!ok && !(strstr(reasons, a->key) && strstr(reasons, b->key)))
        fail_msg("%s is refused without both keys:%s", what, reasons);
}

static void each_pair_trains_or_is_refused_by_name(void **state)
{
    (void)state;
    int trained = 0, refused = 0;
    for (int a = 0; a < CHOICES; a++)
        for (int b = a + 1; b < CHOICES; b++)
            for (int i = 0; i < VALUES_MOST && choices[a].values[i][0]; i++)
                for (int j = 0; j < VALUES_MOST && choices[b].values[j][0]; j++)
                    check_pair(&choices[a], i, &choices[b], j, &trained, &refused);
    assert_true(trained > 800);
    assert_true(refused > 20 && refused < 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_pair_trains_or_is_refused_by_name)};
    return cmocka_run_group_tests(tests, begin, NULL);
}
