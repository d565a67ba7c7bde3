/* The trainer's promises on programs of real size: a tight plan, the same bits for any number of threads, no allocation of
 * anybody's in a step, accumulation and exact savings that change nothing. */
#include <dirent.h>
#include <dlfcn.h>
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
#include "base/random.h"
#include "train/trainer.h"

/* ---- allocations of the whole process, counted by standing in front of the C library's */

#if defined(__SANITIZE_ADDRESS__)
static long allocations; /* the sanitizer stands there itself */
#else
static long allocations;

void *malloc(size_t size)
{
    static void *(*next)(size_t);
    if (!next)
        next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return next(size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    static void *(*next)(size_t, size_t);
    if (!next)
        next = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return next(alignment, size);
}
#endif

/* ---- a recipe whose products have several tiles of rows, and input for it */

enum { BATCH = 12, SIDE = 32, PLACES = 64, NUMBERS = 3 * SIDE * SIDE };

static Recipe recipe;
static float images[BATCH * NUMBERS];
static uint8_t hidden[BATCH * PLACES];

static int begin(void **state)
{
    (void)state;
    static const char text[] = "image: {size: 32}\n"
                               "encoder: {patch: 4, width: 96, depth: 3, heads: 3}\n"
                               "decoders:\n"
                               "  - {tap: 1, width: 64, depth: 1, heads: 2}\n"
                               "  - {tap: last, width: 96, depth: 2, heads: 3}\n"
                               "target: {normalise: patch}\n"
                               "optimizer: {clip: 1}\n"
                               "schedule: {batch_size: 12}\n"
                               "run: {seed: 3}\n";
    assert_true(recipe_parse(&recipe, text, sizeof text - 1, "the test's recipe") && recipe_check(&recipe));
    Random random = random_stream(1, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < BATCH * NUMBERS; i++)
        images[i] = (float)random_normal(&random);
    for (int i = 0; i < BATCH * PLACES; i++)
        hidden[i] = (i * 7 + i / PLACES) % 4 != 0;
    return 0;
}

static Trainer *open_trainer(int threads, int micro_batch, bool plain, bool keep)
{
    TrainerOptions options = {.batch = BATCH, .micro_batch = micro_batch, .plain = plain, .keep_predictions = keep};
    assert_true(device_open("cpu", threads, &options.device));
    Trainer *t = trainer_open(&recipe, &options);
    if (!t)
        fail_msg("%s", error_text());
    return t;
}

static TrainerMetrics take_steps(Trainer *t, int count)
{
    TrainerMetrics metrics = {0};
    for (int i = 0; i < count; i++)
        assert_true(trainer_step(t, &(TrainerBatch){.images = images, .hidden = hidden, .lr = 1e-3}, &metrics) &&
                    metrics.finite);
    return metrics;
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    static const RunPrecision precisions[] = {RUN_PRECISION_F32, RUN_PRECISION_BF16};
    size_t bytes = 0;
    float *first = NULL;
    for (int i = 0; i < 8; i++) {
        int threads = 1 + i % 4;
        if (threads == 1) {
            memory_free(first);
            first = NULL;
        }
        recipe.run.precision = precisions[i / 4];
        Trainer *t = open_trainer(threads, BATCH, false, false);
        take_steps(t, 3);
        bytes = (size_t)trainer_params(t)->trained_count * sizeof(float);
        if (!first) {
            first = memory_new(1, bytes);
            memcpy(first, trainer_weights(t), bytes);
        }
        assert_memory_equal(first, trainer_weights(t), bytes);
        trainer_close(t);
    }
    memory_free(first);
}

/* bf16 with the exact savings against f32 the long way round: the same loss and gradient, but for bf16's 8 bits. */
static void bf16_stays_near_f32(void **state)
{
    (void)state;
    double losses[2];
    float *gradient = NULL;
    for (int i = 0; i < 2; i++) {
        recipe.run.precision = i ? RUN_PRECISION_BF16 : RUN_PRECISION_F32;
        Trainer *t = open_trainer(2, BATCH / 2, i == 0, false);
        losses[i] = take_steps(t, 1).loss;
        size_t count = (size_t)trainer_params(t)->trained_count;
        if (i == 0) {
            gradient = memory_new(count, sizeof *gradient);
            memcpy(gradient, trainer_gradient(t), count * sizeof *gradient);
        }
        double wrong = 0, square = 0;
        for (size_t k = 0; i == 1 && k < count; k++) {
            wrong += pow((double)trainer_gradient(t)[k] - (double)gradient[k], 2);
            square += pow((double)gradient[k], 2);
        }
        trainer_close(t);
        if (i == 0)
            continue;
        assert_true(fabs(losses[1] / losses[0] - 1) < 5e-3);
        assert_true(wrong > 0); /* it is another arithmetic */
        if (sqrt(wrong / square) > 0.03)
            fail_msg("the gradient is off by %g of its length", sqrt(wrong / square));
    }
    memory_free(gradient);
}

static int count_threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(tasks));)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

/* From the very first step: the team is there when the trainer is. */
static void a_step_allocates_nothing_and_starts_no_thread(void **state)
{
    (void)state;
    Trainer *t = open_trainer(2, BATCH / 3, false, false);
    int threads = count_threads();
    long before = allocations;
    uint64_t own = memory_count();
    take_steps(t, 3);
    assert_int_equal(allocations, before);
    assert_int_equal(memory_count(), own);
    assert_int_equal(count_threads(), threads);
    trainer_close(t);
}

static void plans_are_tight_and_sound(void **state)
{
    (void)state;
    for (int parts = 1; parts <= 3; parts++)
        for (int plain = 0; plain < 2; plain++) {
            Trainer *t = open_trainer(2, BATCH / parts, plain, false);
            Program *p = trainer_program(t);
            assert_true(program_plan_is_sound(p));
            assert_true((double)program_arena_bytes(p) <= 1.1 * (double)program_floor_bytes(p));
            trainer_close(t);
        }
}

static double relative(double a, double b)
{
    return fabs(a - b) / fabs(b);
}

/* The same step, cut in parts, and the long way round. */
static void accumulation_and_savings_change_rounding_only(void **state)
{
    (void)state;
    Trainer *whole = open_trainer(2, BATCH, false, false);
    TrainerMetrics expect = take_steps(whole, 2);
    trainer_close(whole);
    for (int parts = 1; parts <= 4; parts++)
        for (int plain = 0; plain < 2; plain++) {
            Trainer *t = open_trainer(2, BATCH / parts, plain, false);
            TrainerMetrics got = take_steps(t, 2);
            assert_true(relative(got.loss, expect.loss) < 1e-5);
            assert_true(relative(got.grad_norm, expect.grad_norm) < 1e-4);
            assert_true(relative(got.losses[0], expect.losses[0]) < 1e-5);
            trainer_close(t);
        }
}

/* Predictions come back to the places they were made for, also from the last of several parts. */
static void predictions_lie_where_they_belong(void **state)
{
    (void)state;
    enum { MICRO = BATCH / 2, OUTPUTS = 48 };
    static float plain[MICRO * PLACES * OUTPUTS], saved[MICRO * PLACES * OUTPUTS];
    for (int target = 0; target < 2; target++) {
        for (int i = 0; i < 2; i++) {
            Trainer *t = open_trainer(1, MICRO, i == 0, true);
            take_steps(t, 1);
            assert_int_equal(trainer_outputs(t, 1), OUTPUTS);
            (target ? trainer_target : trainer_prediction)(t, 1, i == 0 ? plain : saved);
            trainer_close(t);
        }
        for (int row = 0; row < MICRO * PLACES; row++)
            for (int k = 0; k < OUTPUTS; k++) {
                float expect = hidden[MICRO * PLACES + row] ? plain[row * OUTPUTS + k] : 0;
                assert_true(fabsf(saved[row * OUTPUTS + k] - expect) <= 1e-4f * (1 + fabsf(expect)));
            }
    }
}

static void evaluation_counts_each_picture_once(void **state)
{
    (void)state;
    Trainer *t = open_trainer(2, BATCH, false, false);
    TrainerMetrics all, some;
    double sum = 0;
    assert_true(trainer_evaluate(t, &(TrainerBatch){.images = images, .hidden = hidden}, BATCH, &all));
    for (int first = 0; first < BATCH; first += 5) {
        int count = BATCH - first < 5 ? BATCH - first : 5;
        assert_true(trainer_evaluate(t, &(TrainerBatch){.images = images + first * NUMBERS, .hidden = hidden + first * PLACES},
                                     count, &some));
        sum += some.loss * count / BATCH;
    }
    assert_true(relative(sum, all.loss) < 1e-5);
    hidden[0] ^= 1;
    assert_false(trainer_evaluate(t, &(TrainerBatch){.images = images, .hidden = hidden}, BATCH, &all));
    assert_non_null(strstr(error_text(), "mask.ratio"));
    trainer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(threads_change_no_bit, begin),
        cmocka_unit_test_setup(bf16_stays_near_f32, begin),
        cmocka_unit_test_setup(a_step_allocates_nothing_and_starts_no_thread, begin),
        cmocka_unit_test_setup(plans_are_tight_and_sound, begin),
        cmocka_unit_test_setup(accumulation_and_savings_change_rounding_only, begin),
        cmocka_unit_test_setup(predictions_lie_where_they_belong, begin),
        cmocka_unit_test_setup(evaluation_counts_each_picture_once, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
