/* Training on the fake GPU: what fits into its memory is known before and is what is taken; whichever call fails there is an
 * error, and nothing is lost. */
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
#include "device/cuda/cuda.h"
#include "device/cuda/fake.h"
#include "train/fit.h"
#include "train/tiny_recipe.h"

enum { BATCH = 8, NUMBERS = 3 * 16 * 16, PLACES = 16 };

static Recipe recipe;
static float images[BATCH * NUMBERS];
static uint8_t hidden[BATCH * PLACES];

static int begin(void **state)
{
    (void)state;
    assert_true(tiny_recipe(&recipe));
    recipe.image.mean.kind = recipe.image.std.kind = STATISTICS_IMAGENET;
    recipe.run.precision = RUN_PRECISION_F32;
    assert_true(recipe_check(&recipe));
    Random random = random_stream(1, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < BATCH * NUMBERS; i++)
        images[i] = (float)random_normal(&random);
    for (int i = 0; i < BATCH * PLACES; i++)
        hidden[i] = i % 4 != 0;
    return 0;
}

static TrainerOptions options_on(const Device *device, int micro_batch)
{
    return (TrainerOptions){.device = *device, .batch = BATCH, .micro_batch = micro_batch};
}

/* The fake's memory such that so many bytes can be used. */
static void set_room(double bytes)
{
    fake_set_memory((int64_t)((bytes + 256e6) / 0.95) + 4096);
}

static void what_fits_is_known_before(void **state)
{
    (void)state;
    Device cuda;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    int64_t bytes[BATCH + 1];
    for (int micro = 1; micro <= BATCH; micro *= 2) {
        TrainerOptions options = options_on(&cuda, micro);
        bytes[micro] = fit_bytes(&recipe, &options, FIT_BEGINS);
        assert_true(bytes[micro] > 0);
    }
    assert_true(bytes[8] > bytes[4] && bytes[4] > bytes[2] && bytes[2] > bytes[1]);
    for (int micro = 1; micro <= BATCH; micro *= 2) {
        int most;
        TrainerOptions options = options_on(&cuda, BATCH);
        set_room((double)bytes[micro]);
        assert_true(fit_micro_batch(&recipe, &options, FIT_BEGINS, &most));
        assert_int_equal(most, micro);
        assert_int_equal(fit_check(&recipe, &options, FIT_BEGINS), micro == BATCH);
        if (micro < BATCH) {
            char advice[32];
            snprintf(advice, sizeof advice, "run.micro_batch=%d", micro);
            assert_non_null(strstr(error_text(), advice));
        }
    }
    set_room((double)bytes[1] - 10000);
    TrainerOptions options = options_on(&cuda, 4);
    assert_false(fit_check(&recipe, &options, FIT_BEGINS));
    assert_non_null(strstr(error_text(), "not even one picture fits"));
    device_close(&cuda);
}

/* A run that goes on has its code book: the memory that it was made in is not needed again. */
static void a_code_book_is_made_once(void **state)
{
    (void)state;
    Device cuda;
    Recipe codes = recipe;
    static const char *const settings[] = {"target={kind: tokens, teacher: random, codes: 512}", "loss.kind=cross_entropy",
                                           "data.val_every=0"};
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    for (int i = 0; i < 3; i++)
        if (!recipe_set(&codes, settings[i]))
            fail_msg("%s", error_text());
    TrainerOptions options = options_on(&cuda, 1);
    int64_t anew = fit_bytes(&codes, &options, FIT_BEGINS), on = fit_bytes(&codes, &options, FIT_GOES_ON);
    if (on <= 0 || anew <= on)
        fail_msg("%lld bytes anew, %lld to go on: %s", (long long)anew, (long long)on, error_text());
    set_room((double)on);
    assert_true(fit_check(&codes, &options, FIT_GOES_ON));
    assert_false(fit_check(&codes, &options, FIT_BEGINS));
    device_close(&cuda);
}

/* What is contrasted with what does not depend on the GPU. */
static void groups_are_left_alone(void **state)
{
    (void)state;
    Device cuda;
    Recipe other = recipe;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    other.contrast.kind = CONTRAST_MOCOV3;
    other.run.micro_batch = 2;
    assert_true(fit_settle(&other, &cuda, false, FIT_BEGINS));
    assert_int_equal(other.run.micro_batch, 2);
    other.contrast.kind = CONTRAST_OFF;
    assert_true(fit_settle(&other, &cuda, false, FIT_BEGINS));
    assert_true(other.run.micro_batch > 2);
    device_close(&cuda);
}

/* But for the validation's program, which is made when it is first asked for. */
static void what_was_planned_is_taken(void **state)
{
    (void)state;
    Device cuda;
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    TrainerOptions options = options_on(&cuda, 4);
    int64_t before, training, both, planned = fit_bytes(&recipe, &options, FIT_BEGINS);
    TrainerMetrics metrics;
    assert_true(cuda_memory_left(cuda.cuda, &before));
    Trainer *t = trainer_open(&recipe, &options);
    assert_non_null(t);
    assert_true(cuda_memory_left(cuda.cuda, &training));
    assert_true(trainer_evaluate(t, &(TrainerBatch){.images = images, .hidden = hidden}, BATCH, &metrics) && metrics.finite);
    assert_true(cuda_memory_left(cuda.cuda, &both));
    const int64_t pages = 20 * 4096;
    assert_true(before - training <= planned && before - both >= planned && before - both <= planned + pages);
    trainer_close(t);
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

/* Products are captured again with what was the fastest; nothing that is learnt changes. */
static void timed_products_are_captured_anew(void **state)
{
    (void)state;
    TrainerMetrics metrics[2];
    TrainerBatch batch = {.images = images, .hidden = hidden, .lr = 1e-3};
    for (int tuned = 0; tuned < 2; tuned++) {
        Device cuda;
        fake_reset();
        fake_set_algorithms(3, (double[]){2e-3, 1e-3, 3e-3});
        assert_true(device_open("cuda", 1, &cuda));
        device_set_autotune(&cuda, tuned);
        TrainerOptions options = options_on(&cuda, 4);
        Trainer *t = trainer_open(&recipe, &options);
        assert_non_null(t);
        fake_log_clear();
        assert_true(trainer_step(t, &batch, &metrics[tuned]) && trainer_step(t, &batch, &metrics[tuned]));
        assert_int_equal(strstr(fake_log(), "product\n") != NULL, !tuned);
        assert_int_equal(strstr(fake_log(), "product by 1\n") != NULL, tuned);
        assert_true(fake_graph_launches() > 0);
        trainer_close(t);
        device_close(&cuda);
        assert_int_equal(fake_open_things(), 0);
    }
    assert_true(metrics[0].loss == metrics[1].loss && metrics[0].grad_norm == metrics[1].grad_norm);
}

static int count_copies(void)
{
    int count = 0;
    for (const char *at = fake_log(); (at = strstr(at, "copy ")); at++)
        count++;
    return count;
}

/* For a checkpoint weights and moments are copied, once, and nothing goes back. */
static void fetching_changes_nothing(void **state)
{
    (void)state;
    Device cuda;
    TrainerMetrics metrics;
    TrainerState fetched;
    TrainerBatch batch = {.images = images, .hidden = hidden, .lr = 1e-3};
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    TrainerOptions options = options_on(&cuda, BATCH);
    Trainer *t = trainer_open(&recipe, &options);
    assert_true(t && trainer_step(t, &batch, &metrics));
    fake_log_clear();
    assert_true(trainer_step(t, &batch, &metrics));
    int copies = count_copies();
    fake_log_clear();
    assert_true(trainer_fetch(t, &fetched));
    assert_int_equal(count_copies(), 3);
    assert_true(trainer_fetch(t, &fetched));
    assert_int_equal(count_copies(), 3);
    fake_log_clear();
    assert_true(trainer_step(t, &batch, &metrics));
    assert_int_equal(count_copies(), copies);
    assert_true(trainer_fetch(t, &fetched));
    assert_memory_equal(fetched.weights, trainer_weights(t), (size_t)trainer_params(t)->trained_count * sizeof(float));
    trainer_close(t);
    device_close(&cuda);
    assert_int_equal(fake_open_things(), 0);
}

/* What was uploaded ahead is used once, by the next step alone, and not at all when another batch is said to come. */
static void a_batch_ahead_is_taken_once(void **state)
{
    (void)state;
    Device cuda;
    TrainerMetrics plain[2], metrics;
    TrainerBatch batch = {.images = images, .hidden = hidden},
                 other = {.images = images + NUMBERS, .hidden = hidden}; /* no rate: nothing is learnt */
    fake_reset();
    assert_true(device_open("cuda", 1, &cuda));
    TrainerOptions options = options_on(&cuda, BATCH / 2);
    options.batch = BATCH / 2;
    Trainer *t = trainer_open(&recipe, &options);
    assert_true(t && trainer_step(t, &batch, &plain[0]) && trainer_step(t, &other, &plain[1]));
    assert_true(plain[0].loss != plain[1].loss);
    assert_true(trainer_begin(t, &batch) && trainer_ahead(t, &other) && trainer_end(t, &metrics));
    assert_true(metrics.loss == plain[0].loss);
    fake_log_clear();
    assert_true(trainer_begin(t, &other) && trainer_end(t, &metrics) && metrics.loss == plain[1].loss);
    int copies = count_copies();
    fake_log_clear();
    assert_true(trainer_step(t, &batch, &metrics) && metrics.loss == plain[0].loss);
    assert_true(count_copies() > copies);
    assert_true(trainer_ahead(t, &other) && trainer_ahead(t, NULL) && trainer_step(t, &batch, &metrics));
    assert_true(metrics.loss == plain[0].loss);
    trainer_close(t);
    device_close(&cuda);
}

static bool train_a_little(bool one_by_one, bool second_lane)
{
    Device cuda;
    TrainerMetrics metrics;
    Trainer *t = NULL;
    TrainerBatch batch = {.images = images, .hidden = hidden, .lr = 1e-3};
    TrainerState state;
    bool ok = device_open("cuda", 1, &cuda);
    cuda.one_by_one = one_by_one;
    cuda.second_lane = second_lane;
    TrainerOptions options = options_on(&cuda, 4);
    ok = ok && fit_check(&recipe, &options, FIT_BEGINS) && (t = trainer_open(&recipe, &options)) && trainer_begin(t, &batch) &&
         trainer_ahead(t, &batch) && trainer_end(t, &metrics) && trainer_step(t, &batch, &metrics) &&
         trainer_evaluate(t, &batch, 3, &metrics) && trainer_fetch(t, &state);
    char *why = ok ? NULL : strdup(error_text());
    trainer_close(t);
    device_close(&cuda);
    if (why)
        error_set("%s", why);
    free(why);
    return ok;
}

static void each_call_may_fail(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        bool one_by_one = way == 1, second_lane = way == 2;
        fake_reset();
        assert_true(train_a_little(one_by_one, second_lane));
        int calls = fake_calls(), failed = 0, tried = 0;
        for (int n = 1; n <= calls; n += 1 + calls / 25, tried++) {
            fake_reset();
            fake_fail_at(n, tried % 2 ? FAKE_LOST : FAKE_ERROR);
            error_clear();
            if (!train_a_little(one_by_one, second_lane)) {
                failed++;
                assert_true(*error_text());
            }
            if (fake_open_things())
                fail_msg("call %d of %d: %d things are lost", n, calls, fake_open_things());
        }
        assert_true(failed >= tried - 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_known_before),
        cmocka_unit_test(a_code_book_is_made_once),
        cmocka_unit_test(groups_are_left_alone),
        cmocka_unit_test(what_was_planned_is_taken),
        cmocka_unit_test(timed_products_are_captured_anew),
        cmocka_unit_test(fetching_changes_nothing),
        cmocka_unit_test(a_batch_ahead_is_taken_once),
        cmocka_unit_test(each_call_may_fail),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
