/* Resizing: Pillow's bytes, the edge of the crop, no memory taken twice. */
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
#include "image/golden_case.h"
#include "image/resize.h"

static void golden_bytes_are_exact(void **state)
{
    const char *level = *state;
    if (level)
        setenv("LACUNA_CPU", level, 1);
    GoldenCase golden = golden_open("resize_pil");
    ResizeScratch scratch = {0};
    for (size_t k = 0; k < json_array_size(golden.jobs); k++) {
        Image image;
        ImageBox crop;
        int height, width;
        ResizeFilter filter;
        golden_job(&golden, k, &image, &crop, &height, &width, &filter);
        const SafeTensor *expect = golden_tensor(&golden, "expect", k);
        assert_int_equal(expect->shape[0], height);
        assert_int_equal(expect->shape[1], width);
        uint8_t *out = malloc(expect->bytes);
        assert_true(image_resize(&image, crop, height, width, filter, &scratch, out));
        if (memcmp(out, expect->data, expect->bytes))
            fail_msg("job %zu differs", k);
        free(out);
    }
    resize_scratch_free(&scratch);
    golden_close(&golden);
    unsetenv("LACUNA_CPU");
}

static Image noise(int height, int width, int channels, uint64_t seed)
{
    Image image;
    assert_true(image_new(&image, height, width, channels));
    Random random = random_stream(seed, RANDOM_TEST, 0, 0, 0);
    for (size_t i = 0; i < image_size(&image); i++)
        image.data[i] = (uint8_t)random_below(&random, 256);
    return image;
}

/* A crop of a picture and the same rectangle cut out as a picture of its own give the same bytes, in every build of the loops.
 */
static void nothing_outside_the_crop_counts(void **state)
{
    (void)state;
    static const int sizes[][2] = {{20, 20}, {7, 64}, {64, 7}, {33, 17}, {1, 1}, {40, 21}, {33, 50}, {100, 90}};
    ResizeScratch scratch = {0}, plain = {0};
    Image image = noise(50, 60, 3, 1);
    ImageBox crop = {9, 11, 33, 17};
    Image cut;
    assert_true(image_new(&cut, crop.height, crop.width, 3));
    for (int y = 0; y < crop.height; y++)
        memcpy(cut.data + y * crop.width * 3, image.data + ((y + crop.top) * 60 + crop.left) * 3, (size_t)crop.width * 3);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int filter = 0; filter < RESIZE_FILTERS; filter++) {
            int height = sizes[i][0], width = sizes[i][1];
            size_t bytes = (size_t)height * (size_t)width * 3;
            uint8_t *inside = malloc(bytes), *alone = malloc(bytes),
                    *slow = malloc(bytes); /* exact: a sanitizer sees overruns */
            assert_true(image_resize(&image, crop, height, width, (ResizeFilter)filter, &scratch, inside));
            assert_true(image_resize(&cut, (ImageBox){0, 0, crop.height, crop.width}, height, width, (ResizeFilter)filter,
                                     &scratch, alone));
            setenv("LACUNA_CPU", "ref", 1);
            assert_true(image_resize(&image, crop, height, width, (ResizeFilter)filter, &plain, slow));
            unsetenv("LACUNA_CPU");
            assert_memory_equal(inside, alone, bytes);
            assert_memory_equal(inside, slow, bytes);
            free(inside);
            free(alone);
            free(slow);
        }
    }
    resize_scratch_free(&scratch);
    resize_scratch_free(&plain);
    image_free(&image);
    image_free(&cut);
}

/* Each channel of a picture is resized as if it were a picture of its own, for any number of channels. */
static void channels_do_not_mix(void **state)
{
    (void)state;
    ResizeScratch scratch = {0};
    for (int channels = 1; channels <= 6; channels++) {
        Image image = noise(19, 23, channels, 2), one;
        assert_true(image_new(&one, 19, 23, 1));
        uint8_t all[30 * 11 * 6], single[30 * 11];
        assert_true(image_resize(&image, (ImageBox){0, 0, 19, 23}, 30, 11, RESIZE_BICUBIC, &scratch, all));
        for (int c = 0; c < channels; c++) {
            for (int i = 0; i < 19 * 23; i++)
                one.data[i] = image.data[i * channels + c];
            assert_true(image_resize(&one, (ImageBox){0, 0, 19, 23}, 30, 11, RESIZE_BICUBIC, &scratch, single));
            for (int i = 0; i < 30 * 11; i++)
                assert_int_equal(all[i * channels + c], single[i]);
        }
        image_free(&image);
        image_free(&one);
    }
    resize_scratch_free(&scratch);
}

static void flat_pictures_stay_flat(void **state)
{
    (void)state;
    ResizeScratch scratch = {0};
    Image image;
    assert_true(image_new(&image, 70, 90, 1));
    for (int value = 0; value < 256; value += 51) {
        memset(image.data, value, image_size(&image));
        uint8_t out[40 * 100];
        for (int filter = 0; filter < RESIZE_FILTERS; filter++) {
            assert_true(image_resize(&image, (ImageBox){3, 5, 61, 77}, 40, 100, (ResizeFilter)filter, &scratch, out));
            for (size_t i = 0; i < sizeof out; i++)
                assert_int_equal(out[i], value);
        }
    }
    image_free(&image);
    resize_scratch_free(&scratch);
}

static void a_warm_scratch_takes_no_memory(void **state)
{
    (void)state;
    ResizeScratch scratch = {0};
    Image image = noise(64, 80, 3, 3);
    uint8_t out[32 * 32 * 3];
    memory_fail_at(1);
    assert_false(image_resize(&image, (ImageBox){0, 0, 64, 80}, 32, 32, RESIZE_LANCZOS, &scratch, out));
    memory_fail_at(0);
    assert_non_null(strstr(error_text(), "out of memory"));
    assert_true(image_resize(&image, (ImageBox){0, 0, 64, 80}, 32, 32, RESIZE_LANCZOS, &scratch, out));
    uint64_t before = memory_count();
    for (int side = 1; side <= 60; side++)
        assert_true(image_resize(&image, (ImageBox){2, 3, side, side + 9}, 32, 32, RESIZE_BICUBIC, &scratch, out));
    assert_int_equal(memory_count(), before);
    resize_scratch_free(&scratch);
    image_free(&image);
}

static void senseless_requests_are_refused(void **state)
{
    (void)state;
    static const ImageBox boxes[] = {{-1, 0, 2, 2}, {0, -1, 2, 2}, {0, 0, 0, 2},         {0, 0, 2, 0},
                                     {3, 0, 2, 2},  {0, 3, 2, 2},  {INT32_MAX, 0, 2, 2}, {2, 2, INT32_MAX, 1}};
    ResizeScratch scratch = {0};
    Image image = noise(4, 4, 1, 4);
    uint8_t out[4];
    for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++)
        assert_false(image_resize(&image, boxes[i], 2, 2, RESIZE_BICUBIC, &scratch, out));
    assert_false(image_resize(&image, (ImageBox){0, 0, 2, 2}, 0, 2, RESIZE_BICUBIC, &scratch, out));
    assert_false(image_resize(&image, (ImageBox){0, 0, 2, 2}, 2, -1, RESIZE_BICUBIC, &scratch, out));
    ResizeFilter filter;
    assert_false(resize_filter_find("nearest", &filter));
    for (int i = 0; i < RESIZE_FILTERS; i++) {
        assert_true(resize_filter_find(resize_filter_name((ResizeFilter)i), &filter));
        assert_int_equal(filter, i);
    }
    setenv("LACUNA_CPU", "no such level", 1);
    assert_false(image_resize(&image, (ImageBox){0, 0, 2, 2}, 1, 1, RESIZE_BICUBIC, &scratch, out));
    unsetenv("LACUNA_CPU");
    image_free(&image);
    resize_scratch_free(&scratch);
}

int main(void)
{
    static char plain[] = "ref";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_bytes_are_exact),
        {"golden_bytes_are_exact_without_vectors", golden_bytes_are_exact, NULL, NULL, plain},
        cmocka_unit_test(nothing_outside_the_crop_counts),
        cmocka_unit_test(channels_do_not_mix),
        cmocka_unit_test(flat_pictures_stay_flat),
        cmocka_unit_test(a_warm_scratch_takes_no_memory),
        cmocka_unit_test(senseless_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
