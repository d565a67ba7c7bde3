/* Where the sums of a step begin, and what travels for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "train/pretended_ranks.h"
#include "train/tiny_recipe.h"
#include "train/trainer_parts.h"

enum { BATCH = 8, PICTURE = 3 * 16 * 16, PLACES = 16 };

static float images[BATCH * PICTURE];
static uint8_t hidden[BATCH * PLACES];

/* The gradients of a run are, where its sum begins, what they are at the end, and nearly all begin before it. */
static void check_runs(int micro_batch)
{
    Recipe recipe;
    RankGroup *ranks = ranks_open();
    assert_true(tiny_recipe(&recipe));
    recipe.encoder.drop_path = 0;
    recipe.encoder.width = 48; /* enough numbers for several runs */
    recipe.image.mean.kind = recipe.image.std.kind = STATISTICS_IMAGENET;
    TrainerOptions options = {.batch = BATCH, .micro_batch = micro_batch, .ranks = ranks};
    assert_non_null(ranks);
    assert_true(device_open("cpu", 1, &options.device));
    Trainer *t = trainer_open(&recipe, &options);
    if (!t)
        fail_msg("%s", error_text());
    TrainerBatch batch = {.images = images, .hidden = hidden, .lr = 1e-3};
    TrainerMetrics metrics;
    assert_true(trainer_step(t, &batch, &metrics) && metrics.finite);
    Segment last = micro_batch == BATCH / 2 ? SEGMENT_ONLY : SEGMENT_LAST;
    size_t nodes = program_step_count(t->train.program, last), numbers = (size_t)t->params.trained_count;
    const float *gradient = t->buffers[GRADIENT].host;
    float *then = memory_new(numbers, sizeof *then);
    int64_t covered = 0, early = 0, end = t->params.trained_count;
    assert_non_null(then);
    assert_true(t->run_count > 3);
    size_t done = 0;
    for (int i = 0; i < t->run_count; i++) {
        const GradientRun *run = &t->runs[i];
        assert_true(run->after >= done && run->after <= nodes);
        program_run_nodes(t->train.program, last, done, run->after);
        done = run->after;
        memcpy(then + run->offset, gradient + run->offset, (size_t)run->count * sizeof *then);
        covered += run->count;
        early += run->after < nodes ? run->count : 0;
    }
    assert_int_equal(covered, end);
    assert_true(t->runs[0].after < nodes - nodes / 8 && 10 * early > 9 * end);
    program_run_nodes(t->train.program, last, done, nodes);
    assert_memory_equal(then, gradient, numbers * sizeof *then);
    memory_free(then);
    trainer_close(t);
    device_close(&options.device);
    ranks_close(ranks);
}

static void sums_begin_when_gradients_are_complete(void **state)
{
    (void)state;
    check_runs(BATCH / 2);
    check_runs(1);
}

/* What the other rank is sent for a step: its share's pictures and masks, once, ahead or with the step; of pictures that rank 0
 * shares, none. */
static void shares_travel_once(void **state)
{
    (void)state;
    enum { MASKS = BATCH / 2 * PLACES, PICTURES = BATCH / 2 * PICTURE * (int)sizeof *images };
    Recipe recipe;
    RankGroup *ranks = ranks_open();
    assert_true(ranks && tiny_recipe(&recipe));
    recipe.encoder.drop_path = 0;
    recipe.image.mean.kind = recipe.image.std.kind = STATISTICS_IMAGENET;
    TrainerOptions options = {.batch = BATCH, .micro_batch = 1, .ranks = ranks};
    assert_true(device_open("cpu", 1, &options.device));
    Trainer *t = trainer_open(&recipe, &options);
    float *shared = ranks_shared_new(ranks, sizeof images);
    assert_true(t && shared);
    memcpy(shared, images, sizeof images);
    TrainerMetrics first, metrics;
    for (int way = 0; way < 2; way++) {
        TrainerBatch batch = {.images = way ? shared : images, .hidden = hidden};
        size_t each = way ? MASKS : MASKS + PICTURES;
        pretend_sent = 0;
        assert_true(trainer_step(t, &batch, way ? &metrics : &first));
        assert_int_equal(pretend_sent, each);
        assert_true(trainer_ahead(t, &batch));
        assert_int_equal(pretend_sent, 2 * each);
        pretend_told = 0;
        assert_true(trainer_begin(t, &batch));
        assert_int_equal(pretend_told, 1);
        assert_true(trainer_end(t, &metrics)); /* of which the others are told, to wait for it as well */
        assert_int_equal(pretend_told, 2);
        assert_int_equal(pretend_sent, 2 * each);
        assert_true(trainer_ahead(t, &batch) && trainer_ahead(t, NULL) && trainer_step(t, &batch, &metrics));
        assert_int_equal(pretend_sent, 4 * each);
        assert_true(metrics.loss == first.loss); /* the rate is 0 */
    }
    ranks_shared_free(ranks, shared);
    trainer_close(t);
    device_close(&options.device);
    ranks_close(ranks);
}

static void shares_must_divide(void **state)
{
    (void)state;
    Recipe recipe;
    RankGroup *ranks = ranks_open();
    assert_true(ranks && tiny_recipe(&recipe));
    recipe.image.mean.kind = recipe.image.std.kind = STATISTICS_IMAGENET;
    TrainerOptions options = {.batch = BATCH, .micro_batch = BATCH, .ranks = ranks};
    assert_true(device_open("cpu", 1, &options.device));
    assert_null(trainer_open(&recipe, &options));
    assert_non_null(strstr(error_text(), "run.micro_batch 8 does not divide"));
    device_close(&options.device);
    ranks_close(ranks);
}

static int draw(void **state)
{
    (void)state;
    tiny_draw(images, BATCH * PICTURE, hidden, BATCH * PLACES);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_begin_when_gradients_are_complete),
                                       cmocka_unit_test(shares_travel_once), cmocka_unit_test(shares_must_divide)};
    return cmocka_run_group_tests(tests, draw, NULL);
}
