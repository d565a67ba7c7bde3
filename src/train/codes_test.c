/* Codes as targets: which code a patch has, where code books come from, and that a run makes the same one again. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "mim/mask.h"
#include "train/codes.h"
#include "train/forecast.h"
#include "train/pretrain.h"
#include "train/stopped_run.h"
#include "train/teacher.h"
#include "train/tiny_recipe.h"
#include "train/weights.h"

#define HOME "codes_test.tmp"

enum { CODES = 11, NUMBERS = 48, PLACES = 16, BATCH = 4, SIDE = 16 };

static Recipe recipe;

static void set(const char *key)
{
    if (!recipe_set(&recipe, key))
        fail_msg("%s", error_text());
}

static int begin(void **state)
{
    (void)state;
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    if (!cache || setenv("XDG_CACHE_HOME", cache, 1) || !file_remove(HOME) || !file_make_folder(HOME) || !tiny_recipe(&recipe))
        return 1;
    memory_free(cache);
    set("target={kind: tokens, teacher: random, codes: 11}");
    set("loss.kind=cross_entropy");
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

/* The code book of a run's last checkpoint; freed by the caller. */
static float *book_of(const char *out, int64_t width)
{
    char *model = weights_file(out, NULL), *path = memory_string(model);
    memcpy(path + strlen(path) - strlen("model.safetensors"), "state.safetensors", strlen("state.safetensors"));
    SafeTensors *state = safetensors_open(path);
    if (!state)
        fail_msg("%s", error_text());
    const SafeTensor *book = safetensors_need(state, "teacher.codebook.weight", 2, (int64_t[]){CODES, width});
    if (!book)
        fail_msg("%s", error_text());
    float *values = memory_new((size_t)(CODES * width), sizeof *values);
    safetensor_to_f32(book, values);
    safetensors_close(state);
    memory_free(model);
    memory_free(path);
    return values;
}

static void write_book_of(const char *path, const float *book, int64_t width, const float std[3])
{
    static const float mean[] = {0.1f, 0.2f, 0.3f};
    SafeTensor tensors[] = {{.name = "codebook", .dtype = SAFETENSORS_F32, .ndim = 2, .shape = {CODES, width}, .data = book},
                            {.name = "mean", .dtype = SAFETENSORS_F32, .ndim = 1, .shape = {3}, .data = mean},
                            {.name = "std", .dtype = SAFETENSORS_F32, .ndim = 1, .shape = {3}, .data = std}};
    if (!safetensors_write(path, tensors, std ? 3 : 1, NULL, 0))
        fail_msg("%s", error_text());
}

static void write_book(const char *path, const float *book, int64_t width, bool statistics)
{
    write_book_of(path, book, width, statistics ? (float[]){0.5f, 0.25f, 1} : NULL);
}

/* A tensor of a run's weights; freed by the caller. */
static float *tensor_of(const char *out, const char *name, size_t *count)
{
    char *model = weights_file(out, NULL);
    SafeTensors *file = safetensors_open(model);
    const SafeTensor *t = file ? safetensors_find(file, name) : NULL;
    if (!t)
        fail_msg("no %s of %s", name, out);
    *count = safetensor_count(t);
    float *values = memory_new(*count, sizeof *values);
    safetensor_to_f32(t, values);
    safetensors_close(file);
    memory_free(model);
    return values;
}

/* target.normalise says nothing of it: its patches are normalised each. */
static void a_book_that_is_made_has_one_way_of_seeing_patches(void **state)
{
    (void)state;
    static const char name[] = "decoders.1.pred.weight";
    size_t count;
    set("target.normalise=none");
    run_until(&recipe, HOME "/none", false, 0, PRETRAIN_DONE);
    set("target.normalise=patch");
    run_until(&recipe, HOME "/patch", false, 0, PRETRAIN_DONE);
    float *none = tensor_of(HOME "/none", name, &count), *patch = tensor_of(HOME "/patch", name, &count);
    assert_memory_equal(none, patch, count * sizeof *none);
    memory_free(none);
    memory_free(patch);
}

static void a_run_makes_its_code_book_again(void **state)
{
    (void)state;
    set("target.normalise=none"); /* which is of other targets */
    run_until(&recipe, HOME "/whole", false, 0, PRETRAIN_DONE);
    run_until(&recipe, HOME "/cut", false, 3, PRETRAIN_STOPPED);
    run_until(&recipe, HOME "/cut", true, 0, PRETRAIN_DONE);
    float *whole = book_of(HOME "/whole", NUMBERS), *cut = book_of(HOME "/cut", NUMBERS);
    assert_memory_equal(whole, cut, CODES * NUMBERS * sizeof *whole);
    /* Means of patches of mean 0: their own is 0, and they are not all the same. */
    double apart = 0;
    for (int c = 0; c < CODES; c++) {
        double sum = 0;
        for (int k = 0; k < NUMBERS; k++) {
            sum += (double)whole[c * NUMBERS + k];
            apart += fabs((double)whole[c * NUMBERS + k] - (double)whole[k]);
        }
        assert_true(fabs(sum) < 1e-3);
    }
    assert_true(apart > 1);
    memory_free(whole);
    memory_free(cut);
}

/* The code of a patch is the row of the book that is nearest to it, seen with the book's statistics. */
static void the_code_is_the_nearest_row(void **state)
{
    (void)state;
    static float book[CODES * NUMBERS], images[BATCH * NUMBERS * PLACES], targets[BATCH * PLACES];
    static uint8_t hidden[BATCH * PLACES];
    static const float mean[] = {0.1f, 0.2f, 0.3f}, std[] = {0.5f, 0.25f, 1}, none[] = {0, 0, 0}, one[] = {1, 1, 1};
    Random random = random_stream(5, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < CODES * NUMBERS; i++)
        book[i] = (float)random_normal(&random);
    for (int i = 0; i < BATCH * NUMBERS * PLACES; i++)
        images[i] = (float)random_normal(&random);
    for (int i = 0; i < BATCH * PLACES; i++)
        hidden[i] = i % 4 != 0;
    write_book(HOME "/book.safetensors", book, NUMBERS, true);
    set("target.teacher=" HOME "/book.safetensors");
    set("target.normalise=none");
    set("loss.on=all");
    recipe_statistics_set(&recipe.image.mean, 3, none);
    recipe_statistics_set(&recipe.image.std, 3, one);
    MimTeacher teacher;
    TrainerOptions options = {
        .batch = BATCH, .micro_batch = BATCH, .evaluate_only = true, .keep_predictions = true, .teacher = &teacher};
    if (!recipe_check(&recipe) || !teacher_of(&recipe, 0, &teacher) || !device_open("cpu", 1, &options.device))
        fail_msg("%s", error_text());
    assert_int_equal(teacher.codes, CODES);
    Trainer *t = trainer_open(&recipe, &options);
    TrainerMetrics metrics;
    if (!t || !teacher_begin(&recipe, t, NULL) ||
        !trainer_evaluate(t, &(TrainerBatch){.images = images, .hidden = hidden}, BATCH, &metrics))
        fail_msg("%s", error_text());
    assert_int_equal(trainer_outputs(t, 0), CODES);
    trainer_target(t, 0, targets);
    for (int i = 0; i < BATCH * PLACES; i++) {
        double distances[CODES] = {0};
        int best = 0;
        for (int c = 0; c < CODES; c++) {
            for (int k = 0; k < NUMBERS; k++) { /* row, column, channel */
                int place = i % PLACES, y = place / 4 * 4 + k / 12, x = place % 4 * 4 + k / 3 % 4, channel = k % 3;
                double pixel = (double)images[((i / PLACES * 3 + channel) * SIDE + y) * SIDE + x];
                pixel = (pixel - (double)mean[channel]) / (double)std[channel] - (double)book[c * NUMBERS + k];
                distances[c] += pixel * pixel;
            }
            best = distances[c] < distances[best] ? c : best;
        }
        assert_int_equal((int)targets[i], best);
    }
    trainer_close(t);
}

/* A book that a file holds is the run's, as it stands. */
static void a_file_teaches(void **state)
{
    (void)state;
    run_until(&recipe, HOME "/made", false, 0, PRETRAIN_DONE);
    float *book = book_of(HOME "/made", NUMBERS);
    write_book(HOME "/book.safetensors", book, NUMBERS, false);
    set("target.teacher=" HOME "/book.safetensors");
    run_until(&recipe, HOME "/read", false, 0, PRETRAIN_DONE);
    float *read = book_of(HOME "/read", NUMBERS);
    assert_memory_equal(book, read, CODES * NUMBERS * sizeof *book);
    memory_free(book);
    memory_free(read);
}

/* The tokens of a network, whose code book is made here, or lies with it. */
static void tokens_of_a_network_have_codes(void **state)
{
    (void)state;
    run_until(&recipe, HOME "/network", false, 0, PRETRAIN_DONE);
    set("target.teacher=" HOME "/network");
    set("target.normalise=token");
    set("target.final_norm=true");
    run_until(&recipe, HOME "/taught", false, 0, PRETRAIN_DONE);
    float *book = book_of(HOME "/taught", 16);
    double squares = 0;
    for (int k = 0; k < 16; k++) /* means of standardised tokens are shorter than these */
        squares += (double)book[k] * (double)book[k];
    assert_true(squares > 1 && squares < 16);
    memory_free(book);
}

/* Asks whether to stop are counted: so many are answered with no. */
typedef struct {
    int noes;
    bool told;
} Impatient;

static bool stops_soon(void *context)
{
    return --((Impatient *)context)->noes < 0;
}

static void note_stop(void *context, const char *sentence)
{
    Impatient *i = context;
    i->told = i->told || strstr(sentence, "stopped while it makes the code book");
}

/* Wherever that is, nothing is left behind that a run would go on with, and the whole run comes to the same afterwards. */
static void making_a_book_can_be_stopped(void **state)
{
    (void)state;
    run_until(&recipe, HOME "/whole", false, 0, PRETRAIN_DONE);
    int told = 0;
    for (int noes = 0; noes < 16; noes += 3) {
        Impatient impatient = {.noes = noes};
        PretrainOptions options = {.recipe = &recipe,
                                   .out = HOME "/cut",
                                   .resume = noes > 0,
                                   .say = note_stop,
                                   .stop = stops_soon,
                                   .context = &impatient};
        assert_int_equal(pretrain_run(&options), PRETRAIN_STOPPED);
        assert_false(file_exists(HOME "/cut/recipe.yaml"));
        assert_false(file_exists(HOME "/cut/checkpoints"));
        told += impatient.told;
    }
    assert_true(told >= 4);
    run_until(&recipe, HOME "/cut", true, 0, PRETRAIN_DONE);
    float *whole = book_of(HOME "/whole", NUMBERS), *cut = book_of(HOME "/cut", NUMBERS);
    assert_memory_equal(whole, cut, CODES * NUMBERS * sizeof *whole);
    memory_free(whole);
    memory_free(cut);
}

/* Rows of 128 x 128 pixels for a million codes: more than any machine that runs tests has, and seen before it is taken. */
static void a_book_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static Forecast plain, forecast;
    Recipe r = recipe;
    assert_true(recipe_set(&r, "target={kind: pixels, teacher: initial}") && recipe_set(&r, "loss.kind=l2"));
    if (!forecast_make(&r, false, &plain) || !forecast_make(&recipe, false, &forecast))
        fail_msg("%s", error_text());
    /* Rows and one round of k-means: book, means, bias, and each row's code and distance. */
    int64_t rows = 44 * PLACES * 8 / 10, least = rows * (NUMBERS * 4 + 8) + CODES * NUMBERS * 12;
    assert_int_equal(plain.codes, 0);
    assert_true(forecast.codes > least / 2 && forecast.memory >= forecast.arena + forecast.parameters + forecast.codes);
    device_close(&plain.device);
    device_close(&forecast.device);
    set("target.codes=1048576");
    set("image.size=1024");
    set("encoder.patch=128");
    set("data.world_images=30000");
    set("image.mean=imagenet"); /* or they would all be looked at */
    set("image.std=imagenet");
    PretrainOptions options = {.recipe = &recipe, .out = HOME "/large"};
    assert_int_equal(pretrain_run(&options), PRETRAIN_FAILED);
    if (!strstr(error_text(), "making the code book of target.codes 1048576 takes"))
        fail_msg("%s", error_text());
}

static void what_has_no_codes_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *keys[3], *words[2];
    } cases[] = {
        {{"target.teacher=initial", NULL}, {"target.teacher initial", "target.kind tokens"}},
        {{"target.teacher=" HOME "/nobody", NULL}, {"target.teacher", HOME "/nobody"}},
        {{"target.teacher=" HOME "/narrow.safetensors", NULL}, {"have 47 numbers", "has 48"}},
        {{"target.codes=2000", NULL}, {"target.codes 2000", "only"}},
        {{"loss.kind=l2", NULL}, {"loss.kind l2", "target.kind tokens"}},
        {{"target.normalise=token", NULL}, {"target.normalise token", "target.teacher"}},
        {{"decoders.1={target: {kind: features, normalise: none}, loss: {kind: l2}}", "stages=[{epochs: 1}, {epochs: 1}]",
          "target.mean=clip"},
         {"target.mean", "tokens"}},
        {{"target.final_norm=true", NULL}, {"target.final_norm", "features"}},
        {{"target.teacher=" HOME "/book.safetensors", "target.normalise=token"}, {"target.normalise token", "of patches"}},
        {{"target.teacher=" HOME "/book.safetensors", "target.final_norm=true"}, {"target.final_norm", "of patches"}},
        {{"target.teacher=" HOME "/book.safetensors", "target.projection=true"}, {"target.projection", "of patches"}},
        {{"target.teacher=" HOME "/book.safetensors", "target.codes=12"}, {"target.codes is 12", "target.codes=11"}},
        {{"target.teacher=" HOME "/flat.safetensors", NULL}, {"its std of channel 1 is 0", "none of pictures"}},
        {{"target.teacher=" HOME "/nan.safetensors", NULL}, {"nan", "no number to compare with"}},
        {{"decoders.0.target.codes=5", NULL}, {"decoders.0.target", "codes"}},
        {{"stages=[{epochs: 1}, {epochs: 1}]", NULL}, {"stages", "target.kind features"}},
    };
    static const float narrow[CODES * 47];
    static float book[CODES * NUMBERS];
    write_book(HOME "/narrow.safetensors", narrow, 47, false);
    write_book(HOME "/book.safetensors", book, NUMBERS, true);
    write_book_of(HOME "/flat.safetensors", book, NUMBERS, (float[]){0.5f, 0, 1});
    book[NUMBERS] = NAN;
    write_book(HOME "/nan.safetensors", book, NUMBERS, false);
    set("schedule.warmup_epochs=0.5");
    Recipe plain = recipe;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        recipe = plain;
        for (int k = 0; k < 3; k++)
            if (cases[i].keys[k])
                set(cases[i].keys[k]);
        expect_refused_run(&recipe, HOME "/refused", cases[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_makes_its_code_book_again, begin, end),
        cmocka_unit_test_setup_teardown(a_book_that_is_made_has_one_way_of_seeing_patches, begin, end),
        cmocka_unit_test_setup_teardown(the_code_is_the_nearest_row, begin, end),
        cmocka_unit_test_setup_teardown(a_file_teaches, begin, end),
        cmocka_unit_test_setup_teardown(tokens_of_a_network_have_codes, begin, end),
        cmocka_unit_test_setup_teardown(making_a_book_can_be_stopped, begin, end),
        cmocka_unit_test_setup_teardown(a_book_that_does_not_fit_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(what_has_no_codes_is_refused, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
