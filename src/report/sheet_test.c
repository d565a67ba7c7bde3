#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "image/draw.h"
#include "report/sheet.h"

static Image plain_image(int height, int width, int channels, uint8_t value)
{
    Image image;
    assert_true(image_new(&image, height, width, channels));
    memset(image.data, value, image_size(&image));
    return image;
}

static const uint8_t *at(const Image *image, int y, int x)
{
    return image->data + ((size_t)y * (size_t)image->width + (size_t)x) * (size_t)image->channels;
}

static void test_layout(void **state)
{
    (void)state;
    Image cells[6], sheet;
    for (int i = 0; i < 6; i++)
        cells[i] = plain_image(16, 32, i % 2 ? 3 : 1, (uint8_t)(10 + 20 * i));
    static const char *const captions[] = {"original", "masked", ""};
    assert_int_equal(sheet_scale(&cells[0]), 6);
    assert_true(sheet_make(cells, 2, 3, captions, &sheet));
    assert_int_equal(sheet.channels, 3);
    assert_int_equal(sheet.width, 8 + 3 * (32 * 6 + 8));
    int head = sheet.height - 2 * (96 + 8);
    for (int i = 0; i < 6; i++) {
        int top = head + i / 3 * 104, left = 8 + i % 3 * 200;
        assert_int_equal(at(&sheet, top, left)[0], 10 + 20 * i);
        assert_int_equal(at(&sheet, top + 95, left + 191)[2], 10 + 20 * i);
        assert_true(at(&sheet, top - 1, left)[0] > 230);
        assert_true(at(&sheet, top + 96, left)[0] > 230);
        assert_true(at(&sheet, top, left + 192)[0] > 230);
    }
    /* The captions are there, none over the third column. */
    int ink[3] = {0};
    for (int y = 0; y < head; y++)
        for (int x = 8; x < sheet.width - 8; x++)
            ink[(x - 8) / 200] += at(&sheet, y, x)[0] < 100;
    assert_true(ink[0] > 50 && ink[1] > 50);
    assert_int_equal(ink[2], 0);
    for (int i = 0; i < 6; i++)
        image_free(&cells[i]);
    image_free(&sheet);
}

static void test_captions_stay_in_their_column(void **state)
{
    (void)state;
    Image cells[2] = {plain_image(100, 100, 3, 0), plain_image(100, 100, 3, 0)}, sheet;
    static const char *const captions[] = {"", "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM"};
    assert_int_equal(sheet_scale(&cells[0]), 1);
    assert_true(sheet_make(cells, 1, 2, captions, &sheet));
    for (int y = 0; y < sheet.height - 108; y++)
        for (int x = 0; x < sheet.width; x++)
            if (at(&sheet, y, x)[0] < 100)
                assert_true(x >= 116 && x < 216);
    image_free(&cells[0]);
    image_free(&cells[1]);
    image_free(&sheet);
}

static void test_hide(void **state)
{
    (void)state;
    Image image = plain_image(8, 12, 3, 7);
    uint8_t hidden[6] = {0, 1, 0, 0, 0, 1};
    sheet_hide(&image, hidden, 4);
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 12; x++)
            assert_int_equal(at(&image, y, x)[1] == 7, !hidden[y / 4 * 3 + x / 4]);
    image_free(&image);
}

static void test_refusals(void **state)
{
    (void)state;
    Image cells[2] = {plain_image(4, 4, 3, 0), plain_image(4, 5, 3, 0)}, sheet;
    static const char *const captions[] = {"a", "b"};
    assert_false(sheet_make(cells, 1, 2, captions, &sheet));
    assert_non_null(strstr(error_text(), "one size"));
    assert_false(sheet_make(cells, 0, 2, captions, &sheet));
    image_free(&cells[0]);
    image_free(&cells[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layout), cmocka_unit_test(test_captions_stay_in_their_column),
                                       cmocka_unit_test(test_hide), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
