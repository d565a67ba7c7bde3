/* Targets that are mixed of the picture and of what a frozen model makes of its visible patches. */
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
#include "mim/mask.h"
#include "report/sheet.h"
#include "train/checkpoint.h"
#include "train/pretrain.h"
#include "train/reconstruct.h"
#include "train/stopped_run.h"
#include "train/teacher.h"
#include "train/tiny_recipe.h"

#define HOME "hybrid_test.tmp"
#define FROM "{from: " HOME "/frozen, table: "

enum { BATCH = 5, SIDE = 16, NUMBERS = 3 * SIDE * SIDE, PLACES = 16, OUT = 48, DRAWN = 4 };

static Recipe recipe;
static float images[BATCH * NUMBERS];
static uint8_t hidden[BATCH * PLACES];

static void set(const char *key)
{
    if (!recipe_set(&recipe, key))
        fail_msg("%s", error_text());
}

/* A frozen model of another width, whose first decoder is not the one that counts; pictures and masks for it. */
static int begin(void **state)
{
    (void)state;
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    if (!cache || setenv("XDG_CACHE_HOME", cache, 1) || !file_remove(HOME) || !file_make_folder(HOME) || !tiny_recipe(&recipe))
        return 1;
    memory_free(cache);
    set("image.mean=[0.5, 0.4, 0.3]");
    set("image.std=[0.25, 0.2, 0.3]");
    set("encoder.width=24");
    set("encoder.position=learned");
    run_until(&recipe, HOME "/frozen", false, 0, PRETRAIN_DONE);
    set("encoder.width=16");
    set("encoder.position=sincos");
    Random random = random_stream(6, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < BATCH * NUMBERS; i++)
        images[i] = (float)random_normal(&random);
    for (int i = 0; i < BATCH; i++)
        mask_draw(&recipe, &random, hidden + i * PLACES);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static Trainer *open_trainer(const Recipe *r, bool plain)
{
    MimTeacher teacher;
    TrainerOptions options = {
        .batch = BATCH, .micro_batch = BATCH, .evaluate_only = true, .keep_predictions = true, .plain = plain};
    bool ok = recipe_check(r) && device_open("cpu", 1, &options.device);
    if (ok && mim_needs_teacher(r)) {
        ok = teacher_of(r, 0, &teacher);
        options.teacher = &teacher;
    }
    Trainer *t = ok ? trainer_open(r, &options) : NULL;
    if (!t || !teacher_begin(r, t, NULL))
        fail_msg("%s", error_text());
    return t;
}

static void evaluate(Trainer *t, const float *pictures, double epoch, TrainerMetrics *metrics)
{
    TrainerBatch batch = {.images = pictures, .hidden = hidden, .epoch = epoch};
    if (!trainer_evaluate(t, &batch, BATCH, metrics))
        fail_msg("%s", error_text());
}

/* What the frozen model predicts, and the targets that it had, both of pictures with its own statistics. */
static void ask_frozen(const float *pictures, float *predictions, float *targets)
{
    Recipe its;
    TrainerMetrics metrics;
    if (!checkpoint_recipe(HOME "/frozen", &its))
        fail_msg("%s", error_text());
    its.run.precision = RUN_PRECISION_F32;
    Trainer *t = open_trainer(&its, true);
    if (!checkpoint_load_weights(HOME "/frozen", &its, t, NULL))
        fail_msg("%s", error_text());
    evaluate(t, pictures, 0, &metrics);
    trainer_prediction(t, 1, predictions);
    trainer_target(t, 1, targets);
    trainer_close(t);
}

static void check_mix(Trainer *t, double epoch, double alpha, const float *predictions, const float *targets)
{
    static float got[BATCH * PLACES * OUT], last[BATCH * PLACES * OUT];
    TrainerMetrics metrics;
    evaluate(t, images, epoch, &metrics);
    trainer_target(t, 0, got);
    trainer_target(t, 1, last);
    for (int i = 0; i < BATCH * PLACES * OUT; i++) {
        double mix = alpha * (double)targets[i] + (1 - alpha) * (double)predictions[i];
        if (fabs((double)got[i] - mix) > 1e-5)
            fail_msg("epoch %g: %g and not %g", epoch, (double)got[i], mix);
        if (hidden[i / OUT] && alpha < 1)
            assert_true(got[i] != last[i]);
    }
}

static void the_mix_is_that_of_picture_and_reconstruction(void **state)
{
    (void)state;
    static float predictions[BATCH * PLACES * OUT], targets[BATCH * PLACES * OUT], seen_by_it[BATCH * NUMBERS];
    static const float mean[] = {0.1f, 0.2f, 0.6f}, std[] = {0.5f, 0.2f, 0.25f};
    static const double its_mean[] = {0.5, 0.4, 0.3}, its_std[] = {0.25, 0.2, 0.3};
    ask_frozen(images, predictions, targets);
    set("target.hybrid=" FROM "[{tap: 1, alpha: 0.25}]}");
    Trainer *t = open_trainer(&recipe, true);
    check_mix(t, 1, 0.25, predictions, targets);
    trainer_close(t);
    set("target.hybrid=" FROM "[{tap: 1, from: 0.2, to: 1, epochs: [2, 6]}]}");
    t = open_trainer(&recipe, true);
    check_mix(t, 0, 0.2, predictions, targets);
    check_mix(t, 2, 0.2, predictions, targets);
    check_mix(t, 3.5, 0.5, predictions, targets);
    check_mix(t, 6, 1, predictions, targets);
    check_mix(t, 100, 1, predictions, targets);
    trainer_close(t);
    /* Of a student with other statistics: the mix is in the frozen model's space, also of what is not normalised. */
    recipe_statistics_set(&recipe.image.mean, 3, mean);
    recipe_statistics_set(&recipe.image.std, 3, std);
    for (int i = 0; i < BATCH * NUMBERS; i++) {
        int c = i / (SIDE * SIDE) % 3;
        seen_by_it[i] = (float)(((double)images[i] * (double)std[c] + (double)mean[c] - its_mean[c]) / its_std[c]);
    }
    ask_frozen(seen_by_it, predictions, targets);
    t = open_trainer(&recipe, true);
    check_mix(t, 3, 0.4, predictions, targets);
    trainer_close(t);
}

/* The byte of a cell of a sheet. */
static int sheet_byte(const Image *sheet, int row, int column, int y, int x, int c)
{
    int scale = SHEET_CELL_LEAST / SIDE, side = SIDE * scale + SHEET_MARGIN, top_row = sheet->height - DRAWN * side;
    int top = top_row + row * side + y * scale, left = SHEET_MARGIN + column * side + x * scale;
    return sheet->data[((size_t)top * (size_t)sheet->width + (size_t)left) * 3 + (size_t)c];
}

static void draw_targets(const char *key, Image *sheet)
{
    MimTeacher teacher;
    set(key);
    Trainer *t = open_trainer(&recipe, true);
    assert_true(reconstruct_can_mix(&recipe) && teacher_of(&recipe, 0, &teacher));
    if (!reconstruct_targets(&recipe, &teacher, trainer_teacher_weights(t), images, hidden, BATCH, HOME "/targets.png") ||
        !image_read(HOME "/targets.png", 3, sheet))
        fail_msg("%s", error_text());
    trainer_close(t);
}

/* Of the first pictures; of a whole share the picture itself, of none what the frozen model makes of it. */
static void the_sheet_shows_what_is_mixed(void **state)
{
    (void)state;
    Recipe its;
    Image whole, none, frozen;
    draw_targets("target.hybrid=" FROM "[{tap: 1, alpha: 1}]}", &whole);
    draw_targets("target.hybrid=" FROM "[{tap: 1, alpha: 0}]}", &none);
    assert_true(checkpoint_recipe(HOME "/frozen", &its));
    its.run.device = RUN_DEVICE_CPU;
    its.run.precision = RUN_PRECISION_F32;
    Trainer *t = open_trainer(&its, true);
    assert_true(checkpoint_load_weights(HOME "/frozen", &its, t, NULL));
    if (!reconstruct_write(&its, trainer_weights(t), trainer_fixed(t), images, hidden, DRAWN, HOME "/frozen.png") ||
        !image_read(HOME "/frozen.png", 3, &frozen))
        fail_msg("%s", error_text());
    trainer_close(t);
    int changed = 0;
    for (int row = 0; row < DRAWN; row++)
        for (int i = 0; i < 3 * SIDE * SIDE; i++) {
            int c = i % 3, x = i / 3 % SIDE, y = i / 3 / SIDE, original = sheet_byte(&whole, row, 0, y, x, c);
            bool masked = hidden[row * PLACES + y / 4 * 4 + x / 4];
            int reconstructed = sheet_byte(&none, row, 2, y, x, c);
            assert_int_equal(sheet_byte(&whole, row, 1, y, x, c), masked ? 176 : original);
            assert_true(abs(sheet_byte(&whole, row, 2, y, x, c) - original) <= 1);
            assert_true(abs(reconstructed - sheet_byte(&frozen, row, 3, y, x, c)) <= 1);
            changed += abs(reconstructed - original) > 5;
        }
    assert_true(changed > SIDE * SIDE);
    image_free(&whole);
    image_free(&none);
    image_free(&frozen);
    /* Five epochs of a share that changes. */
    draw_targets("target.hybrid=" FROM "[{tap: 1, from: 0, to: 1, epochs: [2, 6]}]}", &whole);
    assert_int_equal(whole.width, 7 * (SHEET_CELL_LEAST / SIDE * SIDE + SHEET_MARGIN) + SHEET_MARGIN);
    image_free(&whole);
}

/* The long way round and with the exact savings: the same losses. */
static void compare_forms(TrainerMetrics *saving)
{
    TrainerMetrics plain;
    Trainer *t = open_trainer(&recipe, true);
    evaluate(t, images, 0, &plain);
    trainer_close(t);
    t = open_trainer(&recipe, false);
    evaluate(t, images, 0, saving);
    trainer_close(t);
    for (int k = 0; k < 2; k++)
        assert_true(fabs(plain.losses[k] - saving->losses[k]) < 1e-5 * plain.losses[k]);
}

/* The exact savings change nothing, and a share of 1 is a target that is not mixed. */
static void savings_and_whole_shares_change_nothing(void **state)
{
    (void)state;
    TrainerMetrics saving, whole, unmixed;
    set("target.hybrid=" FROM "[{tap: 1, alpha: 0.25}]}");
    compare_forms(&saving);
    set("target.hybrid=" FROM "[{tap: 1, alpha: 1}]}");
    Trainer *t = open_trainer(&recipe, false);
    evaluate(t, images, 0, &whole);
    trainer_close(t);
    set("target.hybrid=none");
    t = open_trainer(&recipe, false);
    evaluate(t, images, 0, &unmixed);
    trainer_close(t);
    assert_true(whole.losses[0] == unmixed.losses[0] && saving.losses[0] != unmixed.losses[0]);
    assert_true(saving.losses[1] == unmixed.losses[1]);
}

/* Both models are told of their mask tokens by the same inputs, whether they have positions in a table or not. */
static void shared_mask_tokens_change_nothing(void **state)
{
    (void)state;
    static const char *const positions[] = {"encoder.position=sincos", "encoder.position=relative"};
    TrainerMetrics saving;
    set("encoder.input=mask_token");
    Recipe base = recipe;
    for (int its = 0; its < 3; its++) { /* the third has a linear decoder, which asks for rows alone */
        assert_true(file_remove(HOME "/frozen"));
        recipe = base;
        set(positions[its % 2]);
        if (its == 2)
            set("decoders.1.kind=linear");
        run_until(&recipe, HOME "/frozen", false, 0, PRETRAIN_DONE);
        for (int own = 0; own < 2; own++) {
            set(positions[own]);
            set("target.hybrid=" FROM "[{tap: 1, alpha: 0.25}]}");
            compare_forms(&saving);
        }
    }
}

static void assert_same_file(const char *file)
{
    char *bytes[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        char path[200];
        snprintf(path, sizeof path, HOME "/%s/checkpoints/step-00000008/%s", i ? "cut" : "whole", file);
        bytes[i] = file_read(path, 0, &size[i]);
        assert_non_null(bytes[i]);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    memory_free(bytes[0]);
    memory_free(bytes[1]);
}

static void a_stopped_run_comes_to_the_same(void **state)
{
    (void)state;
    set("target.hybrid=" FROM "[{tap: 1, from: 0, to: 1, epochs: [0, 2]}]}");
    run_until(&recipe, HOME "/whole", false, 0, PRETRAIN_DONE);
    run_until(&recipe, HOME "/cut", false, 3, PRETRAIN_STOPPED);
    run_until(&recipe, HOME "/cut", true, 0, PRETRAIN_DONE);
    assert_same_file("model.safetensors");
    assert_same_file("state.safetensors");
}

static void what_cannot_be_mixed_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *keys[2], *words[2];
    } cases[] = {
        {{"target.hybrid={from: " HOME "/nobody, table: [{tap: 1, alpha: 0.5}]}", NULL},
         {"target.hybrid.from", HOME "/nobody"}},
        {{"target.hybrid=" FROM "[{tap: 2, alpha: 0.5}]}", NULL}, {"row of tap 2", "decoders.K.tap"}},
        {{"target.hybrid=" FROM "[{tap: 1, alpha: 0.5}, {tap: 1, alpha: 0}]}", NULL}, {"target.hybrid", "two rows of tap 1"}},
        {{"decoders.0.loss.on=all", NULL}, {"loss.on all", "target.hybrid"}},
        {{"target.normalise=none", NULL}, {"target.normalise none", "patch"}},
        {{"target={kind: hog, cell: 4, normalise: none}", NULL}, {"target.kind hog", "pixels"}},
        {{"target.kind=features", "target.normalise=none"}, {"target.hybrid", "features"}},
        {{"encoder.class_token=2", NULL}, {"encoder.class_token", "target.hybrid"}},
        {{"encoder.patch=8", NULL}, {"encoder.patch", "target.hybrid"}},
    };
    set("target.hybrid=" FROM "[{tap: 1, alpha: 0.5}]}");
    Recipe plain = recipe;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        recipe = plain;
        for (int k = 0; k < 2; k++)
            if (cases[i].keys[k])
                set(cases[i].keys[k]);
        expect_refused_run(&recipe, HOME "/refused", cases[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_mix_is_that_of_picture_and_reconstruction, begin, end),
        cmocka_unit_test_setup_teardown(the_sheet_shows_what_is_mixed, begin, end),
        cmocka_unit_test_setup_teardown(savings_and_whole_shares_change_nothing, begin, end),
        cmocka_unit_test_setup_teardown(shared_mask_tokens_change_nothing, begin, end),
        cmocka_unit_test_setup_teardown(a_stopped_run_comes_to_the_same, begin, end),
        cmocka_unit_test_setup_teardown(what_cannot_be_mixed_is_refused, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
