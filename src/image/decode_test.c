/* Decoding of files that the test writes itself: every kind of sample, damaged files, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "image/codec.h"
#include "image/draw.h"
#include "image/image.h"

typedef struct {
    uint8_t *data;
    size_t size;
} File;

static void file_free(File *file)
{
    free(file->data);
    *file = (File){0};
}

static void append(png_structp png, png_bytep bytes, size_t count)
{
    File *file = png_get_io_ptr(png);
    file->data = realloc(file->data, file->size + count);
    assert_non_null(file->data);
    memcpy(file->data + file->size, bytes, count);
    file->size += count;
}

/* `rows`: samples as PNG stores them, `stride` bytes a row. */
static File write_png(const uint8_t *rows, size_t stride, int height, int width, int type, int depth, bool interlaced)
{
    File file = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &file, append, NULL);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, type,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    if (type == PNG_COLOR_TYPE_PALETTE) {
        png_color colours[4] = {{10, 20, 30}, {255, 0, 0}, {0, 128, 7}, {1, 2, 3}};
        uint8_t alpha[2] = {0, 100};
        png_set_PLTE(png, info, colours, 4);
        png_set_tRNS(png, info, alpha, 2, NULL);
    }
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < height; y++)
            png_write_row(png, rows + (size_t)y * stride);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    return file;
}

static File write_jpeg(const uint8_t *pixels, int height, int width, int components, J_COLOR_SPACE space, bool progressive)
{
    File file = {0};
    unsigned long size = 0;
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &file.data, &size);
    info.image_height = (JDIMENSION)height;
    info.image_width = (JDIMENSION)width;
    info.input_components = components;
    info.in_color_space = space;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 100, TRUE);
    if (progressive)
        jpeg_simple_progression(&info);
    jpeg_start_compress(&info, TRUE);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)y * (size_t)width * (size_t)components);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    file.size = size;
    return file;
}

static void fill(uint8_t *bytes, size_t count)
{
    Random random = random_stream(5, RANDOM_TEST, 0, 0, count);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)random_below(&random, 256);
}

/* A smooth picture, which JPEG at quality 100 keeps within a few levels. */
static void fill_smooth(uint8_t *bytes, int height, int width, int channels)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                *bytes++ = (uint8_t)(20 + 5 * y + 3 * x + 30 * c);
}

enum { H = 9, W = 13 };

static void png_rgb_and_alpha_keep_their_colours(void **state)
{
    (void)state;
    uint8_t rgba[H * W * 4];
    fill(rgba, sizeof rgba);
    for (int interlaced = 0; interlaced < 2; interlaced++) {
        File file = write_png(rgba, W * 4, H, W, PNG_COLOR_TYPE_RGBA, 8, interlaced);
        Image rgb, grey;
        assert_true(image_decode(file.data, file.size, "a.jpg", 3, &rgb)); /* content decides, not the name */
        assert_true(image_decode(file.data, file.size, "a", 1, &grey));
        assert_int_equal(rgb.height, H);
        assert_int_equal(rgb.width, W);
        assert_int_equal(rgb.channels, 3);
        assert_int_equal(grey.channels, 1);
        for (int i = 0; i < H * W; i++) {
            assert_memory_equal(rgb.data + 3 * i, rgba + 4 * i, 3);
            uint32_t luma = (19595u * rgba[4 * i] + 38470u * rgba[4 * i + 1] + 7471u * rgba[4 * i + 2] + 32768u) >> 16;
            assert_int_equal(grey.data[i], luma);
        }
        image_free(&rgb);
        image_free(&grey);
        file_free(&file);
    }
}

static void png_grey_of_every_depth(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 8; depth *= 2) {
        int top = (1 << depth) - 1;
        uint8_t packed[H][W] = {{0}}, expect[H * W];
        for (int y = 0; y < H; y++) {
            for (int x = 0; x < W; x++) {
                int value = (3 * y + 5 * x) & top;
                packed[y][x * depth / 8] |= (uint8_t)(value << (8 - depth - x * depth % 8));
                expect[y * W + x] = (uint8_t)(value * 255 / top);
            }
        }
        File file = write_png(packed[0], W, H, W, PNG_COLOR_TYPE_GRAY, depth, depth == 2);
        Image grey, rgb;
        assert_true(image_decode(file.data, file.size, "grey", 1, &grey));
        assert_memory_equal(grey.data, expect, sizeof expect);
        assert_true(image_decode(file.data, file.size, "grey", 3, &rgb));
        for (int i = 0; i < 3 * H * W; i++)
            assert_int_equal(rgb.data[i], expect[i / 3]);
        image_free(&grey);
        image_free(&rgb);
        file_free(&file);
    }
}

static void png_16_bit_is_rounded(void **state)
{
    (void)state;
    enum { SIDE = 256 };
    uint8_t *rows = malloc(SIDE * SIDE * 2);
    for (int v = 0; v < SIDE * SIDE; v++) {
        rows[2 * v] = (uint8_t)(v >> 8);
        rows[2 * v + 1] = (uint8_t)v;
    }
    File file = write_png(rows, SIDE * 2, SIDE, SIDE, PNG_COLOR_TYPE_GRAY, 16, false);
    Image image;
    assert_true(image_decode(file.data, file.size, "16", 1, &image));
    for (int v = 0; v < SIDE * SIDE; v++)
        assert_int_equal(image.data[v], (2 * v + 257) / 514);
    image_free(&image);
    file_free(&file);
    /* The same bytes as colour with alpha: 4 samples of 16 bits a pixel. */
    file = write_png(rows, SIDE * 2, SIDE, SIDE / 4, PNG_COLOR_TYPE_RGBA, 16, true);
    assert_true(image_decode(file.data, file.size, "16", 3, &image));
    for (int i = 0; i < SIDE * SIDE / 4; i++)
        for (int c = 0; c < 3; c++)
            assert_int_equal(image.data[3 * i + c], (2 * (4 * i + c) + 257) / 514);
    image_free(&image);
    file_free(&file);
    free(rows);
}

static void png_palette_is_expanded_and_its_alpha_dropped(void **state)
{
    (void)state;
    static const uint8_t colours[4][3] = {{10, 20, 30}, {255, 0, 0}, {0, 128, 7}, {1, 2, 3}};
    uint8_t packed[H][4] = {{0}};
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            packed[y][x / 4] |= (uint8_t)(((x + y) & 3) << (6 - x % 4 * 2));
    File file = write_png(packed[0], 4, H, W, PNG_COLOR_TYPE_PALETTE, 2, false);
    Image image;
    assert_true(image_decode(file.data, file.size, "palette", 3, &image));
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            assert_memory_equal(image.data + 3 * (y * W + x), colours[(x + y) & 3], 3);
    image_free(&image);
    assert_true(image_decode(file.data, file.size, "palette", 1, &image));
    assert_int_equal(image.data[1], (19595 * 255 + 32768) >> 16);
    image_free(&image);
    file_free(&file);
}

static void jpeg_grey_rgb_and_progressive(void **state)
{
    (void)state;
    uint8_t pixels[H * W * 3];
    for (int components = 1; components <= 3; components += 2) {
        for (int progressive = 0; progressive < 2; progressive++) {
            fill_smooth(pixels, H, W, components);
            File file = write_jpeg(pixels, H, W, components, components == 1 ? JCS_GRAYSCALE : JCS_RGB, progressive);
            Image rgb, grey;
            assert_true(image_decode(file.data, file.size, "picture.png", 3, &rgb));
            assert_true(image_decode(file.data, file.size, "picture.png", 1, &grey));
            for (int i = 0; i < H * W; i++) {
                for (int c = 0; c < 3; c++)
                    assert_in_range(rgb.data[3 * i + c] + 12 - pixels[components == 1 ? i : 3 * i + c], 0, 24);
                assert_int_equal(grey.data[i], image_luma(rgb.data + 3 * i));
            }
            int height, width, channels;
            assert_true(image_probe(file.data, file.size, "picture", &height, &width, &channels));
            assert_int_equal(height, H);
            assert_int_equal(width, W);
            assert_int_equal(channels, components);
            image_free(&rgb);
            image_free(&grey);
            file_free(&file);
        }
    }
}

/* libjpeg writes what it is given, and marks it as Adobe's: 255 is no ink. */
static void jpeg_cmyk_is_inverted_ink(void **state)
{
    (void)state;
    static const uint8_t inks[4][4] = {{255, 255, 255, 255}, {0, 255, 255, 255}, {255, 255, 255, 0}, {255, 128, 0, 200}};
    static const uint8_t expect[4][3] = {{255, 255, 255}, {0, 255, 255}, {0, 0, 0}, {200, 100, 0}};
    for (int k = 0; k < 4; k++) {
        uint8_t pixels[8 * 8 * 4];
        for (int i = 0; i < 64; i++)
            memcpy(pixels + 4 * i, inks[k], 4);
        File file = write_jpeg(pixels, 8, 8, 4, JCS_CMYK, false);
        Image image;
        assert_true(image_decode(file.data, file.size, "cmyk", 3, &image));
        for (int i = 0; i < 64 * 3; i++)
            assert_in_range(image.data[i] + 2 - expect[k][i % 3], 0, 4);
        image_free(&image);
        file_free(&file);
    }
}

/* All outcomes are allowed but a crash, and a success must be a whole picture. */
static bool try_decode(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1); /* of exact size, so that a sanitizer sees reads beyond it */
    memcpy(copy, bytes, size);
    Image image;
    error_clear();
    bool good = image_decode(copy, size, "part", 3, &image);
    if (good) {
        uint32_t sum = 0;
        for (size_t i = 0; i < image_size(&image); i++)
            sum += image.data[i];
        assert_true(sum <= 255 * image_size(&image));
    } else {
        assert_null(image.data);
        assert_memory_equal(error_text(), "part: ", 6);
    }
    image_free(&image);
    image_probe(copy, size, "part", NULL, NULL, NULL);
    free(copy);
    return good;
}

static void damaged_files_are_refused(void **state)
{
    (void)state;
    enum { SIDE = 40 };
    uint8_t *pixels = malloc(SIDE * SIDE * 4);
    fill(pixels, SIDE * SIDE * 4);
    File files[] = {write_jpeg(pixels, SIDE, SIDE, 3, JCS_RGB, false), write_jpeg(pixels, SIDE, SIDE, 3, JCS_RGB, true),
                    write_jpeg(pixels, SIDE, SIDE, 4, JCS_CMYK, false),
                    write_png(pixels, SIDE * 4, SIDE, SIDE, PNG_COLOR_TYPE_RGBA, 8, false),
                    write_png(pixels, SIDE * 4, SIDE, SIDE, PNG_COLOR_TYPE_PALETTE, 2, true)};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        assert_true(try_decode(files[k].data, files[k].size));
        for (size_t cut = 0; cut < files[k].size; cut += 7)
            assert_false(try_decode(files[k].data, cut));
        assert_false(try_decode(files[k].data, files[k].size - 1));
        Random random = random_stream(3, RANDOM_TEST, 0, 0, k);
        uint8_t *broken = malloc(files[k].size);
        for (int i = 0; i < 300; i++) {
            memcpy(broken, files[k].data, files[k].size);
            size_t at = random_below(&random, i < 150 ? 200 : (uint32_t)files[k].size);
            broken[at % files[k].size] ^= (uint8_t)(1 + random_below(&random, 255));
            /* Enough flips announce large pictures; small limits keep the test quick. */
            Image image;
            ImageLimits limits = {.max_pixels = 1 << 20, .max_scans = 100};
            if (image_decode_within(broken, files[k].size, "broken", 3, &limits, &image))
                image_free(&image);
            assert_null(image.data);
        }
        free(broken);
        file_free(&files[k]);
    }
    free(pixels);
}

static void other_files_are_named(void **state)
{
    (void)state;
    Image image;
    assert_false(image_decode("GIF89a......", 12, "a.jpg", 3, &image));
    assert_non_null(strstr(error_text(), "a.jpg: this is a GIF file"));
    assert_false(image_decode("", 0, "b", 3, &image));
    assert_non_null(strstr(error_text(), "empty"));
    assert_false(image_decode("\xFF\xD8\xFF", 3, "c", 3, &image));
    assert_false(image_decode("plain text", 10, "d.png", 3, &image));
    assert_non_null(strstr(error_text(), "neither"));
}

/* Changes the header of a PNG file, with the right checksum. */
static void announce_png_size(File *file, uint32_t height, uint32_t width)
{
    for (int i = 0; i < 4; i++) {
        file->data[16 + i] = (uint8_t)(width >> (24 - 8 * i));
        file->data[20 + i] = (uint8_t)(height >> (24 - 8 * i));
    }
    uint32_t crc = ~0u;
    for (int i = 12; i < 29; i++) {
        crc ^= file->data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    for (int i = 0; i < 4; i++)
        file->data[29 + i] = (uint8_t)(~crc >> (24 - 8 * i));
}

static void limits_hold_before_memory_is_taken(void **state)
{
    (void)state;
    uint8_t pixels[16 * 16 * 3];
    fill_smooth(pixels, 16, 16, 3);
    File file = write_png(pixels, 48, 16, 16, PNG_COLOR_TYPE_RGB, 8, false);
    announce_png_size(&file, 30000, 30000);
    int height, width, channels;
    assert_true(image_probe(file.data, file.size, "huge", &height, &width, &channels));
    assert_int_equal(height, 30000);
    assert_int_equal(width, 30000);
    assert_int_equal(channels, 3);
    Image image;
    uint64_t before = memory_count();
    assert_false(image_decode(file.data, file.size, "huge", 3, &image));
    assert_int_equal(memory_count(), before);
    assert_non_null(strstr(error_text(), "huge: the PNG file announces 30000 x 30000 pixels, more than the limit"));
    announce_png_size(&file, 1, 1000001);
    assert_false(image_decode(file.data, file.size, "long", 3, &image));
    assert_non_null(strstr(error_text(), "a side longer than 1000000"));
    assert_int_equal(memory_count(), before);
    file_free(&file);

    file = write_jpeg(pixels, 16, 16, 3, JCS_RGB, true);
    ImageLimits limits = {.max_pixels = 256, .max_scans = 10};
    assert_true(image_decode_within(file.data, file.size, "ten scans", 3, &limits, &image));
    image_free(&image);
    limits.max_scans = 9;
    assert_false(image_decode_within(file.data, file.size, "ten scans", 3, &limits, &image));
    assert_non_null(strstr(error_text(), "more than 9 scans"));
    limits = (ImageLimits){.max_pixels = 255, .max_scans = 10};
    assert_false(image_decode_within(file.data, file.size, "ten scans", 3, &limits, &image));
    file_free(&file);
}

/* The scans of a JPEG file told by its markers, before memory is taken; of few pixels but many scans nothing else would tell.
 */
static void scans_are_counted_ahead(void **state)
{
    (void)state;
    uint8_t pixels[16 * 16 * 3];
    fill_smooth(pixels, 16, 16, 3);
    File file = write_jpeg(pixels, 16, 16, 3, JCS_RGB, true);
    uint8_t *end = file.data + file.size - 2, *last = end; /* the last scan, repeated for ever */
    while (last[0] != 0xFF || last[1] != 0xDA)
        last--;
    size_t scan = (size_t)(end - last), times = 5000, size = (size_t)(last - file.data);
    uint8_t *many = malloc(size + times * scan + 2);
    memcpy(many, file.data, size);
    for (size_t t = 0; t < times; t++, size += scan)
        memcpy(many + size, last, scan);
    memcpy(many + size, end, 2);
    Image image;
    assert_false(image_decode(many, size + 2, "scans", 3, &image));
    assert_string_equal(error_text(), "scans: the JPEG file has more than 500 scans, the limit");
    free(many);
    /* What stands behind the end of the picture, such as a film in a telephone's photo, is no scan. */
    many = malloc(file.size + times * scan);
    memcpy(many, file.data, file.size);
    for (size_t t = 0; t < times; t++)
        memcpy(many + file.size + t * scan, last, scan);
    assert_true(image_decode(many, file.size + times * scan, "film", 3, &image));
    image_free(&image);
    free(many);
    file_free(&file);
}

static void time_is_limited(void **state)
{
    (void)state;
    uint8_t pixels[16 * 16 * 3];
    fill_smooth(pixels, 16, 16, 3);
    File files[] = {write_jpeg(pixels, 16, 16, 3, JCS_RGB, false), write_jpeg(pixels, 16, 16, 3, JCS_RGB, true),
                    write_png(pixels, 48, 16, 16, PNG_COLOR_TYPE_RGB, 8, false)};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        ImageLimits limits = {.max_pixels = 256, .max_scans = 10, .max_seconds = 1e-9};
        Image image;
        assert_false(image_decode_within(files[k].data, files[k].size, "slow", 3, &limits, &image));
        assert_string_equal(error_text(), "slow: decoding it takes more than 1e-09 seconds of processor time, the limit");
        assert_false(error_is_machine());
        assert_null(image.data);
        limits.max_seconds = 60;
        assert_true(image_decode_within(files[k].data, files[k].size, "fast", 3, &limits, &image));
        image_free(&image);
        file_free(&files[k]);
    }
}

static void lack_of_memory_is_an_error(void **state)
{
    (void)state;
    uint8_t pixels[16 * 16 * 3];
    fill_smooth(pixels, 16, 16, 3);
    File file = write_jpeg(pixels, 16, 16, 3, JCS_RGB, false);
    Image image;
    for (int n = 1; n <= 2; n++) { /* the picture, then its luma */
        memory_fail_at((uint64_t)n);
        assert_false(image_decode(file.data, file.size, "x", 1, &image));
        assert_null(image.data);
        assert_non_null(strstr(error_text(), "out of memory"));
        assert_true(error_is_machine());
    }
    memory_fail_at(0);
    assert_false(image_new(&image, 0, 3, 3));
    assert_false(image_decode(file.data, file.size, "x", 2, &image));
    file_free(&file);
}

static void written_png_comes_back(void **state)
{
    (void)state;
    Image image, back;
    assert_true(image_new(&image, 5, 7, 3));
    fill(image.data, image_size(&image));
    assert_true(image_write_png("decode_test.jpg", &image));
    assert_true(image_read("decode_test.jpg", 3, &back));
    assert_memory_equal(image.data, back.data, image_size(&image));
    image_free(&image);
    image_free(&back);
    assert_true(file_remove("decode_test.jpg"));
    assert_false(image_read("decode_test.jpg", 3, &back));
    assert_null(back.data);
}

/* A library that got no memory says nothing about the file; a damaged file is no fault of the machine. */
static void want_of_memory_is_told_from_damage(void **state)
{
    (void)state;
    static const char *const machine[] = {"Out of memory", "insufficient memory to store text", "No space for strip buffer",
                                          "Failed to allocate memory for tile byte counts (4 elements of 8 bytes each)"};
    static const char *const file[] = {"IDAT: incorrect data check", "Memory allocation of 99 bytes is beyond the 9 byte limit",
                                       "Not enough data at scanline 0", ""};
    for (int i = 0; i < 4; i++) {
        assert_true(codec_is_want_of_memory(machine[i]));
        assert_false(codec_is_want_of_memory(file[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(want_of_memory_is_told_from_damage),
        cmocka_unit_test(png_rgb_and_alpha_keep_their_colours),
        cmocka_unit_test(png_grey_of_every_depth),
        cmocka_unit_test(png_16_bit_is_rounded),
        cmocka_unit_test(png_palette_is_expanded_and_its_alpha_dropped),
        cmocka_unit_test(jpeg_grey_rgb_and_progressive),
        cmocka_unit_test(jpeg_cmyk_is_inverted_ink),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(other_files_are_named),
        cmocka_unit_test(limits_hold_before_memory_is_taken),
        cmocka_unit_test(scans_are_counted_ahead),
        cmocka_unit_test(time_is_limited),
        cmocka_unit_test(lack_of_memory_is_an_error),
        cmocka_unit_test(written_png_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
