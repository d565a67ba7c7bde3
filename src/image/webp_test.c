/* WebP files that the test writes itself: lossless, lossy, alpha, animations, limits, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <webp/encode.h>

#include "base/memory.h"
#include "image/damage_case.h"

enum { H = 19, W = 27 };

static DamageFile write_webp(const uint8_t *rgba, int height, int width, bool lossless)
{
    WebPConfig config;
    WebPPicture picture;
    WebPMemoryWriter writer;
    assert_true(WebPConfigPreset(&config, WEBP_PRESET_DEFAULT, 95) && WebPPictureInit(&picture));
    WebPMemoryWriterInit(&writer);
    config.lossless = lossless;
    config.exact = 1; /* keeps the colours under transparent pixels */
    picture.use_argb = lossless;
    picture.width = width;
    picture.height = height;
    picture.writer = WebPMemoryWrite;
    picture.custom_ptr = &writer;
    assert_true(WebPPictureImportRGBA(&picture, rgba, width * 4));
    assert_true(WebPEncode(&config, &picture));
    DamageFile file = {malloc(writer.size), writer.size};
    assert_non_null(file.data);
    memcpy(file.data, writer.mem, writer.size);
    WebPMemoryWriterClear(&writer);
    WebPPictureFree(&picture);
    return file;
}

static void fill_noise(uint8_t *bytes, size_t count)
{
    Random random = random_stream(8, RANDOM_TEST, 0, 0, count);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)random_below(&random, 256);
}

/* Colours that change slowly and nearly together, so that lossy coding keeps them. */
static void fill_smooth(uint8_t *rgba, bool opaque)
{
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++, rgba += 4) {
            for (int c = 0; c < 3; c++)
                rgba[c] = (uint8_t)(40 + 3 * y + 2 * x + 20 * c);
            rgba[3] = opaque ? 255 : (uint8_t)(10 * x);
        }
}

static void lossless_keeps_every_colour_and_drops_alpha(void **state)
{
    (void)state;
    uint8_t rgba[H * W * 4];
    for (int opaque = 0; opaque < 2; opaque++) {
        fill_noise(rgba, sizeof rgba);
        for (int i = 0; opaque && i < H * W; i++)
            rgba[4 * i + 3] = 255;
        DamageFile file = write_webp(rgba, H, W, true);
        Image rgb, grey;
        int height, width, channels;
        assert_true(image_decode(file.data, file.size, "a.png", 3, &rgb)); /* content decides, not the name */
        assert_true(image_decode(file.data, file.size, "a", 1, &grey));
        assert_true(image_probe(file.data, file.size, "a", &height, &width, &channels));
        assert_int_equal(height, H);
        assert_int_equal(width, W);
        assert_int_equal(channels, 3);
        assert_int_equal(rgb.height, H);
        assert_int_equal(rgb.width, W);
        assert_int_equal(grey.channels, 1);
        for (int i = 0; i < H * W; i++) {
            assert_memory_equal(rgb.data + 3 * i, rgba + 4 * i, 3);
            assert_int_equal(grey.data[i], image_luma(rgba + 4 * i));
        }
        image_free(&rgb);
        image_free(&grey);
        damage_file_free(&file);
    }
    assert_string_equal(image_suffix_format("folder.png/x.WebP"), "WebP");
    assert_string_equal(image_suffix_format("x.JFIF"), "JPEG");
    assert_string_equal(image_suffix_format("x.jpe"), "JPEG");
    assert_null(image_suffix_format("webp"));
}

static void lossy_comes_near_and_drops_alpha(void **state)
{
    (void)state;
    uint8_t rgba[H * W * 4];
    for (int opaque = 0; opaque < 2; opaque++) {
        fill_smooth(rgba, opaque);
        DamageFile file = write_webp(rgba, H, W, false);
        Image rgb;
        assert_true(image_decode(file.data, file.size, "lossy", 3, &rgb));
        for (int i = 0; i < H * W; i++)
            for (int c = 0; c < 3; c++)
                assert_in_range(rgb.data[3 * i + c] + 12 - rgba[4 * i + c], 0, 24);
        image_free(&rgb);
        damage_file_free(&file);
    }
}

static void animations_are_refused(void **state)
{
    (void)state;
    static const uint8_t animation[] = "RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x0f\0\0\x0f\0\0ANIM\x06\0\0\0\0\0\0\0\0\0";
    Image image;
    assert_false(image_decode(animation, sizeof animation - 1, "moving", 3, &image));
    assert_string_equal(
        error_text(),
        "moving: this is an animated WebP file; only single pictures can be read, store its frames as files first");
    assert_false(image_probe(animation, sizeof animation - 1, "moving", NULL, NULL, NULL));
}

static void limits_hold_before_memory_is_taken(void **state)
{
    (void)state;
    uint8_t rgba[H * W * 4];
    fill_noise(rgba, sizeof rgba);
    for (int i = 0; i < H * W; i++)
        rgba[4 * i + 3] = 255;
    DamageFile file = write_webp(rgba, H, W, true);
    Image image;
    ImageLimits limits = {.max_pixels = H * W};
    assert_true(image_decode_within(file.data, file.size, "x", 3, &limits, &image));
    image_free(&image);
    limits.max_pixels--;
    assert_false(image_decode_within(file.data, file.size, "x", 3, &limits, &image));
    assert_memory_equal(file.data + 12, "VP8L", 4);
    memset(file.data + 21, 0xFF, 3); /* both sides, 14 bits each, at their largest */
    file.data[24] |= 0x0F;
    uint64_t before = memory_count();
    assert_false(image_decode(file.data, file.size, "huge", 3, &image));
    assert_int_equal(memory_count(), before);
    assert_non_null(strstr(error_text(), "huge: the WebP file announces 16384 x 16384 pixels, more than the limit"));
    damage_file_free(&file);
}

static void damaged_files_never_crash(void **state)
{
    (void)state;
    enum { SIDE = 48, TRIES = 400 };
    uint8_t *rgba = malloc(SIDE * SIDE * 4);
    assert_non_null(rgba);
    for (int k = 0; k < 4; k++) {
        fill_noise(rgba, SIDE * SIDE * 4);
        for (int i = 0; k % 2 && i < SIDE * SIDE; i++)
            rgba[4 * i + 3] = 255;
        DamageFile file = write_webp(rgba, SIDE, SIDE, k / 2);
        damage_by_cutting(&file);
        assert_false(damage_decode(file.data, file.size - 1));
        int noticed = damage_by_overwriting(&file, TRIES, (uint64_t)k);
        print_message("%s, %s: %d of %d overwritten files noticed\n", k / 2 ? "lossless" : "lossy", k % 2 ? "opaque" : "alpha",
                      noticed, TRIES);
        assert_true(noticed > 0);
        damage_file_free(&file);
    }
    free(rgba);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lossless_keeps_every_colour_and_drops_alpha), cmocka_unit_test(lossy_comes_near_and_drops_alpha),
        cmocka_unit_test(animations_are_refused), cmocka_unit_test(limits_hold_before_memory_is_taken),
        cmocka_unit_test(damaged_files_never_crash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
