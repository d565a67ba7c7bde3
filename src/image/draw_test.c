/* Sheets: clipping, enlarging, captions, pictures from tensors, PNG files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/augment.h"
#include "image/draw.h"

static Image blank(int height, int width, int channels)
{
    Image image;
    assert_true(image_new(&image, height, width, channels));
    memset(image.data, 0, image_size(&image));
    return image;
}

static int count_set(const Image *image)
{
    int set = 0;
    for (size_t i = 0; i < image_size(image); i++)
        set += image->data[i] != 0;
    return set;
}

static void rectangles_are_clipped(void **state)
{
    (void)state;
    static const uint8_t colour[3] = {1, 2, 3};
    static const struct {
        ImageBox box;
        int pixels;
    } cases[] = {{{1, 2, 2, 3}, 6},
                 {{-1, -1, 2, 2}, 1},
                 {{3, 6, 10, 10}, 4},
                 {{5, 0, 3, 3}, 0},
                 {{0, -9, 4, 9}, 0},
                 {{0, 0, 0, 5}, 0},
                 {{2, 2, -2, 5}, 0},
                 {{-1000, -1000, 5000, 5000}, 40},
                 {{INT32_MIN, 0, 9, 9}, 0},
                 {{INT32_MAX, 0, 9, 9}, 0},
                 {{0, 0, INT32_MAX, INT32_MAX}, 40}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Image image = blank(5, 8, 3);
        draw_rectangle(&image, cases[i].box, colour);
        assert_int_equal(count_set(&image), 3 * cases[i].pixels);
        image_free(&image);
    }
    Image image = blank(5, 8, 3);
    draw_rectangle(&image, (ImageBox){1, 2, 1, 1}, colour);
    assert_memory_equal(image.data + (1 * 8 + 2) * 3, colour, 3);
    image_free(&image);
}

static void pictures_are_enlarged_and_converted(void **state)
{
    (void)state;
    Image small = blank(2, 2, 3), grey = blank(1, 1, 1), sheet = blank(6, 7, 3), luma = blank(2, 2, 1);
    for (int i = 0; i < 12; i++)
        small.data[i] = (uint8_t)(10 * i + 1);
    grey.data[0] = 77;
    draw_image(&sheet, 1, -1, &small, 2);
    for (int y = 0; y < 6; y++) {
        for (int x = 0; x < 7; x++) {
            const uint8_t *p = sheet.data + (y * 7 + x) * 3;
            if (y >= 1 && y < 5 && x < 3)
                assert_memory_equal(p, small.data + ((y - 1) / 2 * 2 + (x + 1) / 2) * 3, 3);
            else
                assert_int_equal(p[0] | p[1] | p[2], 0);
        }
    }
    draw_image(&sheet, 5, 6, &grey, 3);
    for (int c = 0; c < 3; c++)
        assert_int_equal(sheet.data[(5 * 7 + 6) * 3 + c], 77);
    draw_image(&luma, 0, 0, &small, 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(luma.data[i], image_luma(small.data + 3 * i));
    image_free(&small);
    image_free(&grey);
    image_free(&sheet);
    image_free(&luma);
}

static void letters_have_their_shape(void **state)
{
    (void)state;
    static const char expect[7][6] = {"#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."}; /* T */
    static const uint8_t white = 255;
    Image image = blank(14, 22, 1);
    draw_text(&image, 0, 12, "T", &white, 2);
    for (int y = 0; y < 14; y++)
        for (int x = 0; x < 10; x++)
            assert_int_equal(image.data[y * 22 + 12 + x], expect[y / 2][x / 2] == '#' ? 255 : 0);
    assert_int_equal(draw_text_width("T", 2), 10);
    assert_int_equal(draw_text_width("TT", 2), 22);
    assert_int_equal(draw_text_width("", 2), 0);
    draw_text(&image, -3, -100, "far outside and \n\xff\x01 odd", &white, 3);
    image_free(&image);
    /* Every printable character but the space has dots, and no two look alike. */
    uint8_t shapes[95][35];
    for (int c = 0; c < 95; c++) {
        Image glyph = blank(7, 5, 1);
        char text[2] = {(char)(32 + c), 0};
        draw_text(&glyph, 0, 0, text, &white, 1);
        memcpy(shapes[c], glyph.data, 35);
        assert_int_equal(count_set(&glyph) > 0, c > 0);
        image_free(&glyph);
        for (int other = 0; other < c; other++)
            assert_memory_not_equal(shapes[c], shapes[other], 35);
    }
}

static void tensors_come_back_as_pictures(void **state)
{
    (void)state;
    Image image = blank(16, 16, 3), back;
    for (size_t i = 0; i < image_size(&image); i++)
        image.data[i] = (uint8_t)(i * 7 + i / 256);
    float tensor[3 * 16 * 16];
    const ImageStatistics *s = &IMAGE_STATISTICS_CLIP;
    image_to_tensor(image.data, 16, 16, 3, false, s->mean, s->std, tensor);
    assert_true(image_from_tensor(tensor, 3, 16, 16, s->mean, s->std, &back));
    assert_memory_equal(back.data, image.data, image_size(&image));
    image_free(&image);
    image_free(&back);
    const float wild[] = {-1, 2, NAN, INFINITY, -INFINITY, 0.5f};
    const uint8_t expect[] = {0, 255, 0, 255, 0, 128};
    assert_true(image_from_tensor(wild, 1, 2, 3, NULL, NULL, &back));
    assert_memory_equal(back.data, expect, sizeof expect);
    image_free(&back);
}

static void a_failed_png_leaves_the_old_file(void **state)
{
    (void)state;
    static const uint8_t colour[3] = {200, 100, 50};
    Image image = blank(40, 40, 3), back;
    assert_true(image_write_png("draw_test.png", &image));
    draw_rectangle(&image, (ImageBox){0, 0, 40, 40}, colour);
    file_fail_at(1);
    assert_false(image_write_png("draw_test.png", &image));
    file_fail_at(0);
    memory_fail_at(1);
    assert_false(image_write_png("draw_test.png", &image));
    memory_fail_at(0);
    assert_non_null(strstr(error_text(), "draw_test.png: out of memory"));
    assert_true(image_read("draw_test.png", 3, &back));
    assert_int_equal(count_set(&back), 0);
    image_free(&back);
    assert_true(image_write_png("draw_test.png", &image));
    assert_true(image_read("draw_test.png", 3, &back));
    assert_memory_equal(back.data, image.data, image_size(&image));
    assert_true(file_remove("draw_test.png"));
    image.channels = 2;
    size_t size;
    assert_null(image_encode_png(&image, &size));
    image_free(&image);
    image_free(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rectangles_are_clipped),           cmocka_unit_test(pictures_are_enlarged_and_converted),
        cmocka_unit_test(letters_have_their_shape),         cmocka_unit_test(tensors_come_back_as_pictures),
        cmocka_unit_test(a_failed_png_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
