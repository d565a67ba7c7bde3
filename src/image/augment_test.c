/* Crop boxes and tensors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/augment.h"
#include "image/golden_case.h"

/* "imagenet", "clip", or a list of numbers. */
static void read_statistic(const json_t *value, bool deviation, float out[3])
{
    if (json_is_string(value)) {
        const ImageStatistics *statistics = image_statistics_find(json_string_value(value));
        assert_non_null(statistics);
        memcpy(out, deviation ? statistics->std : statistics->mean, 3 * sizeof *out);
    } else {
        for (size_t i = 0; i < 3 && i < json_array_size(value); i++)
            out[i] = (float)json_number_value(json_array_get(value, i));
    }
}

static void golden_tensors_hold(void **state)
{
    (void)state;
    GoldenCase golden = golden_open("augment_given");
    ResizeScratch scratch = {0};
    for (size_t k = 0; k < json_array_size(golden.jobs); k++) {
        json_t *job = json_array_get(golden.jobs, k);
        Image image;
        ImageBox crop;
        int height, width;
        ResizeFilter filter;
        golden_job(&golden, k, &image, &crop, &height, &width, &filter);
        float mean[3], std[3];
        read_statistic(json_object_get(job, "mean"), false, mean);
        read_statistic(json_object_get(job, "std"), true, std);
        const SafeTensor *expect = golden_tensor(&golden, "expect", k);
        assert_int_equal(expect->shape[0], image.channels);
        size_t count = (size_t)height * (size_t)width * (size_t)image.channels;
        assert_int_equal(safetensor_count(expect), count);
        uint8_t *bytes = malloc(count);
        float *got = malloc(count * sizeof *got), *wanted = malloc(count * sizeof *wanted);
        assert_true(safetensor_to_f32(expect, wanted));
        assert_true(image_resize(&image, crop, height, width, filter, &scratch, bytes));
        image_to_tensor(bytes, height, width, image.channels, json_is_true(json_object_get(job, "flip")), mean, std, got);
        for (size_t i = 0; i < count; i++)
            if (!(fabsf(got[i] - wanted[i]) <= 1e-6f))
                fail_msg("job %zu, element %zu: %g instead of %g", k, i, (double)got[i], (double)wanted[i]);
        free(bytes);
        free(got);
        free(wanted);
    }
    resize_scratch_free(&scratch);
    golden_close(&golden);
}

static const double SCALE[2] = {0.2, 1}, RATIO[2] = {3.0 / 4, 4.0 / 3};

static void narrow_pictures_get_the_centred_box(void **state)
{
    (void)state;
    for (uint64_t sample = 0; sample < 50; sample++) {
        Random random = random_stream(1, RANDOM_AUGMENT, 0, 0, sample);
        ImageBox tall = crop_draw(&random, 1000, 100, SCALE, RATIO), wide = crop_draw(&random, 100, 1000, SCALE, RATIO);
        const ImageBox expect_tall = {.top = 433, .left = 0, .height = 133, .width = 100};
        const ImageBox expect_wide = {.top = 0, .left = 433, .height = 100, .width = 133};
        assert_memory_equal(&tall, &expect_tall, sizeof tall);
        assert_memory_equal(&wide, &expect_wide, sizeof wide);
    }
    /* A share above the whole can never fit: the whole picture, when its shape is allowed. */
    Random random = random_stream(1, RANDOM_AUGMENT, 0, 0, 0);
    ImageBox all = crop_draw(&random, 30, 33, (double[2]){4, 5}, RATIO);
    assert_memory_equal(&all, &((ImageBox){0, 0, 30, 33}), sizeof all);
    /* One pixel, and shapes that would round to nothing. */
    ImageBox one = crop_draw(&random, 1, 1, SCALE, RATIO);
    assert_memory_equal(&one, &((ImageBox){0, 0, 1, 1}), sizeof one);
    ImageBox line = crop_draw(&random, 1000, 1, SCALE, (double[2]){5, 6});
    assert_true(line.height == 1 && line.width == 1);
}

static void boxes_are_spread_as_asked(void **state)
{
    (void)state;
    enum { DRAWS = 20000, SIDE = 400 };
    double area = 0, aspect = 0;
    int first_half = 0, corner[2] = {0};
    for (uint64_t sample = 0; sample < DRAWS; sample++) {
        Random random = random_stream(9, RANDOM_AUGMENT, 0, 2, sample), again = random;
        ImageBox box = crop_draw(&random, SIDE, SIDE, (double[2]){0.1, 0.5}, RATIO);
        ImageBox twin = crop_draw(&again, SIDE, SIDE, (double[2]){0.1, 0.5}, RATIO);
        assert_memory_equal(&box, &twin, sizeof box);
        assert_true(box.top >= 0 && box.left >= 0 && box.height >= 1 && box.width >= 1);
        assert_true(box.top + box.height <= SIDE && box.left + box.width <= SIDE);
        double share = (double)box.height * box.width / (SIDE * SIDE), shape = (double)box.width / box.height;
        assert_true(share > 0.098 && share < 0.503);
        assert_true(shape > 0.74 && shape < 1.35);
        area += share;
        aspect += log(shape);
        first_half += box.top < (SIDE - box.height + 1) / 2.0;
        corner[0] += box.top == 0;
        corner[1] += box.left == SIDE - box.width;
    }
    assert_true(fabs(area / DRAWS - 0.3) < 0.005);
    assert_true(fabs(aspect / DRAWS) < 0.01);
    assert_true(abs(first_half - DRAWS / 2) < 400);
    assert_true(corner[0] > 40 && corner[0] < 300 && corner[1] > 40 && corner[1] < 300);
}

static void tensors_are_planes_and_flips_mirror(void **state)
{
    (void)state;
    uint8_t pixels[2 * 3 * 3];
    for (int i = 0; i < 18; i++)
        pixels[i] = (uint8_t)(14 * i);
    float plain[18], flipped[18];
    const ImageStatistics *s = image_statistics_find("imagenet");
    image_to_tensor(pixels, 2, 3, 3, false, s->mean, s->std, plain);
    image_to_tensor(pixels, 2, 3, 3, true, s->mean, s->std, flipped);
    for (int c = 0; c < 3; c++) {
        for (int y = 0; y < 2; y++) {
            for (int x = 0; x < 3; x++) {
                double expect = (pixels[(y * 3 + x) * 3 + c] / 255.0 - (double)s->mean[c]) / (double)s->std[c];
                assert_true(fabs((double)plain[(c * 2 + y) * 3 + x] - expect) < 1e-6);
                assert_true(flipped[(c * 2 + y) * 3 + 2 - x] == plain[(c * 2 + y) * 3 + x]);
            }
        }
    }
    assert_null(image_statistics_find("imagenet21k"));
    assert_true(image_statistics_find("clip")->std[2] == 0.27577711f);
}

/* Pixel (y, x) of a picture whose short side is left as it is: where the cut begins shows in the values. */
static void centres_are_cut_as_torchvision_does(void **state)
{
    (void)state;
    ResizeScratch scratch = {0};
    uint8_t out[40 * 40];
    const struct {
        int height, width, side, cut_height, cut_width, top, left;
    } cases[] = {{35, 40, 35, 2, 5, 16, 18}, /* 33 over: 16; 35 over: 18 */
                 {40, 35, 35, 35, 35, 2, 0}, /* 5 over: 2 */
                 {20, 10, 10, 10, 10, 5, 0},
                 {10, 30, 10, 13, 4, -1, 13}}; /* zero rows above (one) and below (two) */
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Image in;
        assert_true(image_new(&in, cases[k].height, cases[k].width, 1));
        for (int y = 0; y < in.height; y++)
            for (int x = 0; x < in.width; x++)
                in.data[y * in.width + x] = (uint8_t)(1 + y * 6 + x);
        assert_true(image_evaluate(&in, cases[k].side, cases[k].cut_height, cases[k].cut_width, RESIZE_BICUBIC, &scratch, out));
        for (int y = 0; y < cases[k].cut_height; y++)
            for (int x = 0; x < cases[k].cut_width; x++) {
                int from = y + cases[k].top;
                bool inside = from >= 0 && from < in.height;
                assert_int_equal(out[y * cases[k].cut_width + x], inside ? in.data[from * in.width + x + cases[k].left] : 0);
            }
        image_free(&in);
    }
    /* Resized first: the same bytes as resizing the whole and cutting by hand. */
    Image in;
    uint8_t whole[36 * 54];
    assert_true(image_new(&in, 20, 30, 1));
    for (int i = 0; i < 600; i++)
        in.data[i] = (uint8_t)(i * 37);
    assert_true(image_resize(&in, (ImageBox){0, 0, 20, 30}, 36, 54, RESIZE_BICUBIC, &scratch, whole));
    assert_true(image_evaluate(&in, image_evaluate_side(32), 32, 32, RESIZE_BICUBIC, &scratch, out));
    for (int y = 0; y < 32; y++)
        assert_memory_equal(out + y * 32, whole + (y + 2) * 54 + 11, 32);
    image_free(&in);
    /* A strip is not enlarged to millions of pixels. */
    assert_true(image_new(&in, 1, 5000, 1));
    memset(in.data, 7, 5000);
    assert_true(image_evaluate(&in, 36, 32, 32, RESIZE_BICUBIC, &scratch, out));
    assert_int_equal(out[0], 7);
    image_free(&in);
    resize_scratch_free(&scratch);
    assert_int_equal(image_evaluate_side(224), 256);
    assert_int_equal(image_evaluate_side(384), 384);
}

/* 16 bits that say what bytes say are prepared alike, but for the rounding of bytes (once an axis). */
static void deep_pictures_are_evaluated_as_bytes_are(void **state)
{
    (void)state;
    enum { HEIGHT = 40, WIDTH = 90, SIZE = 32 };
    const struct {
        int side, height, width;
    } cases[] = {{36, SIZE, SIZE}, {SIZE, SIZE, SIZE}, {20, SIZE, SIZE}, {36, 20, 60}};
    ResizeScratch scratch = {0};
    Image bytes, deep;
    static uint8_t out[3 * SIZE * 60];
    static float out_deep[3 * SIZE * 60];
    assert_true(image_new(&bytes, HEIGHT, WIDTH, 3) && image_new_deep(&deep, HEIGHT, WIDTH, 3, IMAGE_U16));
    for (size_t i = 0; i < image_size(&bytes); i++) {
        bytes.data[i] = (uint8_t)(30 + i % 3 + i / 3 % WIDTH + i / 3 / WIDTH * 3);
        ((uint16_t *)(void *)deep.data)[i] = (uint16_t)(257 * bytes.data[i]);
    }
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int height = cases[k].height, width = cases[k].width;
        assert_true(image_evaluate(&bytes, cases[k].side, height, width, RESIZE_BICUBIC, &scratch, out));
        assert_true(image_evaluate_deep(&deep, cases[k].side, height, width, RESIZE_BICUBIC, &scratch, out_deep));
        for (int i = 0; i < 3 * height * width; i++)
            assert_true(fabs((double)fminf(fmaxf(out_deep[i], 0), 1) - out[i] / 255.0) < 1.1 / 255);
    }
    image_free(&bytes);
    image_free(&deep);
    resize_scratch_free(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_tensors_hold),
        cmocka_unit_test(narrow_pictures_get_the_centred_box),
        cmocka_unit_test(boxes_are_spread_as_asked),
        cmocka_unit_test(tensors_are_planes_and_flips_mirror),
        cmocka_unit_test(centres_are_cut_as_torchvision_does),
        cmocka_unit_test(deep_pictures_are_evaluated_as_bytes_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
