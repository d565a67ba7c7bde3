#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "image/draw.h"
#include "mim/mask.h"
#include "report/sheet.h"
#include "train/reconstruct.h"

enum { SIDE_Y = 8, SIDE_X = 12, PATCH = 4, PLACES = 6, PIXELS = SIDE_Y * SIDE_X, PICTURES = 5 };

static const float MEAN[] = {0.5f, 0.4f, 0.3f}, STD[] = {0.25f, 0.5f, 1};

/* A tiny model of two decoders: raw pixels behind block 1, patch-normalised ones at the end. */
static void make_recipe(Recipe *r)
{
    static const char text[] = "image: {size: [8, 12], mean: [0.5, 0.4, 0.3], std: [0.25, 0.5, 1]}\n"
                               "encoder: {patch: 4, width: 8, depth: 2, heads: 2}\n"
                               "mask: {ratio: 0.5}\n"
                               "decoders:\n"
                               "- {tap: 1, width: 8, depth: 1, heads: 2}\n"
                               "- {tap: last, width: 8, depth: 1, heads: 2, target: {normalise: patch}}\n";
    if (!recipe_parse(r, text, sizeof text - 1, "test") || !recipe_check(r))
        fail_msg("%s", error_text());
}

static void make_pictures(float *images, uint8_t *hidden)
{
    Random random = random_stream(1, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < PICTURES; i++) {
        mask_random(&random, PLACES, PLACES / 2, hidden + i * PLACES);
        for (int k = 0; k < 3 * PIXELS; k++)
            images[i * 3 * PIXELS + k] = ((float)random_uniform(&random) - MEAN[k / PIXELS]) / STD[k / PIXELS];
    }
}

/* The first value of that parameter in the trainer's weights. */
static float *weight(Trainer *t, const char *name, int64_t *count)
{
    int i = param_find(trainer_params(t), name);
    assert_true(i >= 0);
    *count = trainer_params(t)->params[i].count;
    return trainer_weights(t) + trainer_params(t)->params[i].offset;
}

/* The decoder predicts its bias, whatever it sees. */
static void plant_prediction(Trainer *t, int decoder, const float *bias)
{
    char name[64];
    int64_t count;
    snprintf(name, sizeof name, "decoders.%d.pred.weight", decoder);
    float *w = weight(t, name, &count);
    memset(w, 0, (size_t)count * sizeof *w);
    snprintf(name, sizeof name, "decoders.%d.pred.bias", decoder);
    memcpy(weight(t, name, &count), bias, 48 * sizeof *bias);
}

/* The byte of a cell of the sheet. */
static int sheet_byte(const Image *sheet, int row, int column, int y, int x, int c)
{
    int scale = SHEET_CELL_LEAST / SIDE_Y, height = SIDE_Y * scale + SHEET_MARGIN, width = SIDE_X * scale + SHEET_MARGIN;
    int top = sheet->height - PICTURES * height + row * height + y * scale, left = SHEET_MARGIN + column * width + x * scale;
    return sheet->data[((size_t)top * (size_t)sheet->width + (size_t)left) * 3 + (size_t)c];
}

static double byte_of(double normalised, int c)
{
    return fmin(255, fmax(0, 255 * (normalised * (double)STD[c] + (double)MEAN[c])));
}

/* Mean, and root of the unbiased variance + 1e-6, of the patch that holds pixel (y, x). */
static void patch_of(const float *image, int y, int x, double *mean, double *root)
{
    double sum = 0, squares = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < PATCH * PATCH; i++) {
                double v = (double)image[c * PIXELS + (y / PATCH * PATCH + i / PATCH) * SIDE_X + x / PATCH * PATCH + i % PATCH];
                sum += pass ? 0 : v;
                squares += pass ? (v - sum / 48) * (v - sum / 48) : 0;
            }
    *mean = sum / 48;
    *root = sqrt(squares / 47 + 1e-6);
}

static void test_sheet(void **state)
{
    (void)state;
    static float images[PICTURES * 3 * PIXELS];
    uint8_t hidden[PICTURES * PLACES];
    float bias[48];
    Device device;
    Recipe r;
    Image sheet;
    make_recipe(&r);
    make_pictures(images, hidden);
    assert_true(device_open("ref", 1, &device));
    Trainer *t = reconstruct_open(&r, &device);
    assert_non_null(t);
    for (int k = 0; k < 48; k++)
        bias[k] = (float)(k - 24) / 40;
    plant_prediction(t, 0, bias);
    plant_prediction(t, 1, bias);
    if (!reconstruct_sheet(t, &r, images, hidden, PICTURES, &sheet))
        fail_msg("%s", error_text());
    for (int i = 0; i < PICTURES; i++)
        for (int p = 0; p < 3 * PIXELS; p++) {
            int c = p % 3, y = p / 3 / SIDE_X, x = p / 3 % SIDE_X;
            const float *image = images + i * 3 * PIXELS;
            double truth = byte_of((double)image[c * PIXELS + y * SIDE_X + x], c), mean, root;
            assert_true(fabs(sheet_byte(&sheet, i, 0, y, x, c) - truth) < 0.51);
            bool masked = hidden[i * PLACES + y / PATCH * 3 + x / PATCH];
            /* Predictions come in the order row, column, channel. */
            double prediction = (double)bias[(y % PATCH * PATCH + x % PATCH) * 3 + c];
            if (masked)
                assert_int_equal(sheet_byte(&sheet, i, 1, y, x, c), 176);
            patch_of(image, y, x, &mean, &root);
            double raw = masked ? byte_of(prediction, c) : truth, back = masked ? byte_of(prediction * root + mean, c) : truth;
            assert_true(fabs(sheet_byte(&sheet, i, 2, y, x, c) - raw) < 0.51);
            assert_true(fabs(sheet_byte(&sheet, i, 3, y, x, c) - back) < 0.51);
        }
    image_free(&sheet);
    trainer_close(t);
}

static void test_write(void **state)
{
    (void)state;
    static float images[PICTURES * 3 * PIXELS];
    uint8_t hidden[PICTURES * PLACES];
    Device device;
    Recipe r;
    Image sheet, read;
    make_recipe(&r);
    make_pictures(images, hidden);
    r.run.device = RUN_DEVICE_REF;
    assert_true(device_open("ref", 1, &device));
    Trainer *t = reconstruct_open(&r, &device);
    int64_t count;
    weight(t, "decoders.1.pred.weight", &count)[0] += 3; /* not the first draw */
    assert_true(reconstruct_sheet(t, &r, images, hidden, PICTURES, &sheet));
    if (!reconstruct_write(&r, trainer_weights(t), trainer_fixed(t), images, hidden, PICTURES, "reconstruct_test.png"))
        fail_msg("%s", error_text());
    assert_true(image_read("reconstruct_test.png", 3, &read));
    assert_int_equal(image_size(&read), image_size(&sheet));
    assert_memory_equal(read.data, sheet.data, image_size(&sheet));
    image_free(&sheet);
    image_free(&read);
    trainer_close(t);
    file_remove("reconstruct_test.png");
}

static void test_refusals(void **state)
{
    (void)state;
    static float images[PICTURES * 3 * PIXELS];
    uint8_t hidden[PICTURES * PLACES];
    Device device;
    Recipe r;
    Image sheet;
    make_recipe(&r);
    make_pictures(images, hidden);
    assert_true(device_open("ref", 1, &device));
    Trainer *t = reconstruct_open(&r, &device);
    assert_false(reconstruct_sheet(t, &r, images, hidden, 0, &sheet));
    r.image.mean.kind = STATISTICS_AUTO;
    assert_false(reconstruct_sheet(t, &r, images, hidden, 1, &sheet));
    trainer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sheet), cmocka_unit_test(test_write),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
