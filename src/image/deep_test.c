/* 16-bit and float samples and any number of channels: what decoders keep, how channels are matched, resizing beside a plain
 * implementation, normalising. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>
#include <png.h>
#include <tiffio.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "image/augment.h"
#include "image/damage_case.h"
#include "image/prepare.h"

enum { H = 23, W = 19 };

/* A TIFF file of sequential numbers; bits 16 or 32 of floats when `real`. */
typedef struct {
    int samples, bits, photometric, compression;
    bool real, planar, tiled;
    int alpha; /* the last sample is */
    float bad; /* a sample that replaces one at the end; 0: none */
} Kind;

static uint16_t half_of(float value)
{
    /* of numbers that halves hold exactly: 1 + k / 1024 */
    return (uint16_t)(0x3C00 | (int)((value - 1) * 1024));
}

/* Sample c of pixel (y, x). */
static double value_of(const Kind *k, int y, int x, int c)
{
    int number = (y * W + x) * 7 + c * 31;
    return k->real         ? (k->bits == 16 ? 1 + number % 1024 / 1024.0 : number / 100.0 - 3)
           : k->bits == 16 ? number * 5 % 65536
                           : number % 256;
}

static void put(const Kind *k, uint8_t *row, size_t i, double value)
{
    uint16_t wide = (uint16_t)value;
    float real = (float)value;
    if (k->real && k->bits == 16)
        wide = half_of(real);
    if (k->real && k->bits == 32)
        memcpy(row + 4 * i, &real, 4);
    else if (k->bits == 16)
        memcpy(row + 2 * i, &wide, 2);
    else
        row[i] = (uint8_t)value;
}

static void fill(const Kind *k, uint8_t *row, int y, int left, int width, int plane)
{
    size_t i = 0;
    for (int x = left; x < left + width; x++)
        for (int c = k->planar ? plane : 0; c < (k->planar ? plane + 1 : k->samples); c++)
            put(k, row, i++, k->bad != 0 && y == H - 1 && x == W - 1 ? (double)k->bad : value_of(k, y, x, c));
}

static DamageFile write_tiff(const Kind *k)
{
    char path[64];
    uint8_t row[16 * 32 * 16 * 4];
    size_t size;
    snprintf(path, sizeof path, "deep_test-%d.tmp", (int)getpid());
    TIFF *tiff = TIFFOpen(path, "w");
    assert_non_null(tiff);
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, W);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, H);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, k->samples);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, k->bits);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, k->photometric);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, k->compression ? k->compression : COMPRESSION_NONE);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, k->planar ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
    if (k->real)
        TIFFSetField(tiff, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_IEEEFP);
    int extra = k->samples - (k->photometric == PHOTOMETRIC_RGB ? 3 : 1);
    uint16_t kinds[64] = {0};
    if (k->alpha)
        kinds[extra - 1] = EXTRASAMPLE_UNASSALPHA;
    if (extra > 0)
        TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, extra, kinds);
    if (k->tiled) {
        TIFFSetField(tiff, TIFFTAG_TILEWIDTH, 16);
        TIFFSetField(tiff, TIFFTAG_TILELENGTH, 16);
    } else {
        TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, 4);
    }
    for (int plane = 0; plane < (k->planar ? k->samples : 1); plane++) {
        for (int y = 0; !k->tiled && y < H; y++) {
            fill(k, row, y, 0, W, plane);
            assert_int_equal(TIFFWriteScanline(tiff, row, (uint32_t)y, (uint16_t)plane), 1);
        }
        for (int tile = 0; k->tiled && tile < 4; tile++) {
            int top = tile / 2 * 16, left = tile % 2 * 16;
            size_t line = (size_t)(16 * (k->planar ? 1 : k->samples) * k->bits / 8);
            for (int y = 0; y < 16; y++)
                fill(k, row + (size_t)y * line, top + y, left, 16, plane);
            assert_true(TIFFWriteTile(tiff, row, (uint32_t)left, (uint32_t)top, 0, (uint16_t)plane) > 0);
        }
    }
    TIFFClose(tiff);
    char *bytes = file_read(path, 0, &size);
    assert_non_null(bytes);
    DamageFile file = {malloc(size), size};
    assert_non_null(file.data);
    memcpy(file.data, bytes, size);
    memory_free(bytes);
    file_remove(path);
    return file;
}

static double sample(const Image *image, size_t i)
{
    uint16_t wide;
    float real;
    memcpy(&wide, image->data + 2 * i, image->depth == IMAGE_U16 ? 2 : 0);
    memcpy(&real, image->data + 4 * i, image->depth == IMAGE_F32 ? 4 : 0);
    return image->depth == IMAGE_U8 ? image->data[i] : image->depth == IMAGE_U16 ? wide : (double)real;
}

static ImageBox given_box(void *box, int height, int width)
{
    (void)height;
    (void)width;
    return *(ImageBox *)box;
}

/* Every sample of the whole picture and of a part, known and not. */
static void check_tiff(const Kind *k, int channels)
{
    DamageFile file = write_tiff(k);
    ImageDepth depth = k->real ? IMAGE_F32 : k->bits == 16 ? IMAGE_U16 : IMAGE_U8;
    ImageBox boxes[] = {{0, 0, H, W}, {17, 3, 5, 15}, {2, 17, 20, 2}};
    for (int i = 0; i < 6; i++) {
        ImageBox box = boxes[i % 3];
        ImageRequest request = {.channels = channels, .deep = true, .known = i >= 3, .choose = given_box, .context = &box};
        Image image;
        if (!image_decode_part(file.data, file.size, "tiff", &request, &image))
            fail_msg("%s", error_text());
        assert_int_equal(image.depth, depth);
        assert_int_equal(image.channels, channels);
        for (int y = 0; y < box.height; y++)
            for (int x = 0; x < box.width; x++)
                for (int c = 0; c < channels; c++) {
                    double got = sample(&image, (size_t)((y * box.width + x) * channels + c));
                    double wanted = value_of(k, box.top + y, box.left + x, k->samples < 3 && channels == 3 ? 0 : c);
                    if (got != (depth == IMAGE_F32 ? (double)(float)wanted : wanted))
                        fail_msg("%d samples of %d bits, planar %d, tiled %d: %g at (%d, %d, %d), not %g", k->samples, k->bits,
                                 k->planar, k->tiled, got, y, x, c, wanted);
                }
        image_free(&image);
    }
    damage_file_free(&file);
}

static void tiff_keeps_channels_and_depth(void **state)
{
    (void)state;
    static const int samples[] = {1, 2, 4, 5, 13};
    for (int i = 0; i < 5 * 4 * 2 * 2 * 2; i++) {
        int form = i / 5 % 4;
        Kind k = {.samples = samples[i % 5],
                  .bits = form == 0   ? 8
                          : form == 3 ? 32
                                      : 16,
                  .real = form >= 2,
                  .photometric = PHOTOMETRIC_MINISBLACK,
                  .planar = i / 20 % 2,
                  .tiled = i / 40 % 2,
                  .compression = i / 80 ? COMPRESSION_ADOBE_DEFLATE : COMPRESSION_NONE};
        check_tiff(&k, k.samples);
        if (k.samples == 1)
            check_tiff(&k, 3);
    }
    check_tiff(&(Kind){.samples = 3, .bits = 16, .photometric = PHOTOMETRIC_RGB}, 3);
    check_tiff(&(Kind){.samples = 4, .bits = 16, .photometric = PHOTOMETRIC_RGB, .alpha = 1}, 3); /* alpha is dropped */
    check_tiff(&(Kind){.samples = 4, .bits = 16, .photometric = PHOTOMETRIC_RGB, .alpha = 1}, 4); /* or makes up the number */
    check_tiff(&(Kind){.samples = 2, .bits = 32, .real = true, .photometric = PHOTOMETRIC_MINISBLACK, .alpha = 1}, 2);
    check_tiff(&(Kind){.samples = 2, .bits = 8, .photometric = PHOTOMETRIC_MINISBLACK, .alpha = 1}, 3);
}

static void assert_refused(const Kind *k, int channels, bool deep, const char *part)
{
    DamageFile file = write_tiff(k);
    Image image;
    ImageBox box = {0, 0, 2, 2};
    ImageRequest request = {.channels = channels, .deep = deep, .choose = given_box, .context = &box};
    assert_false(image_decode_part(file.data, file.size, "x", &request, &image));
    if (!strstr(error_text(), part))
        fail_msg("\"%s\" is not in \"%s\"", part, error_text());
    damage_file_free(&file);
}

static void other_numbers_of_channels_are_refused(void **state)
{
    (void)state;
    Kind five = {.samples = 5, .bits = 16, .photometric = PHOTOMETRIC_MINISBLACK}, real = five;
    assert_refused(&five, 3, true, "x: the picture has 5 channels where 3 are wanted: set image.channels");
    assert_refused(&five, 4, true, "has 5 channels where 4 are wanted");
    assert_refused(&(Kind){.samples = 1, .bits = 8, .photometric = PHOTOMETRIC_MINISBLACK}, 5, true, "has 1 channel where 5");
    assert_refused(&(Kind){.samples = 4, .bits = 8, .photometric = PHOTOMETRIC_RGB, .alpha = 1}, 5, true,
                   "has 3 channels and alpha where 5");
    real.real = true;
    assert_refused(&real, 5, false, "float samples, which are no bytes");
    /* Behind the part, too. */
    real.bits = 32;
    const float bad[] = {NAN, INFINITY, -2e6f};
    for (int i = 0; i < 3; i++) {
        real.bad = bad[i];
        assert_refused(&real, 5, true, "not finite or beyond +-1000000");
    }
}

static void many_channels_count_for_the_limit(void **state)
{
    (void)state;
    Kind k = {.samples = 13, .bits = 16, .photometric = PHOTOMETRIC_MINISBLACK};
    DamageFile file = write_tiff(&k);
    ImageLimits limits = {.max_pixels = H * W * 26 / 16 - 1};
    ImageRequest request = {.channels = 13, .deep = true, .limits = &limits};
    Image image;
    assert_false(image_decode_part(file.data, file.size, "x", &request, &image));
    assert_non_null(strstr(error_text(), "23 x 19 pixels of 13 channels, more than the limit of"));
    limits.max_pixels++;
    assert_true(image_decode_part(file.data, file.size, "x", &request, &image));
    image_free(&image);
    damage_file_free(&file);
}

static void append(png_structp png, png_bytep bytes, size_t count)
{
    DamageFile *file = png_get_io_ptr(png);
    file->data = realloc(file->data, file->size + count);
    assert_non_null(file->data);
    memcpy(file->data + file->size, bytes, count);
    file->size += count;
}

static void png_keeps_16_bits_and_alpha(void **state)
{
    (void)state;
    static const int types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGBA};
    for (int samples = 1; samples <= 4; samples++) {
        uint8_t rows[H][W * 4 * 2];
        Random random = random_stream(8, RANDOM_TEST, 0, 0, (uint64_t)samples);
        for (int i = 0; i < H * W * 8; i++)
            rows[i / (W * 8)][i % (W * 8)] = (uint8_t)random_below(&random, 256);
        DamageFile file = {0};
        png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
        png_infop info = png_create_info_struct(png);
        png_set_write_fn(png, &file, append, NULL);
        png_set_IHDR(png, info, W, H, 16, types[samples - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
                     PNG_FILTER_TYPE_BASE);
        png_write_info(png, info);
        for (int y = 0; y < H; y++)
            png_write_row(png, rows[y]);
        png_write_end(png, NULL);
        png_destroy_write_struct(&png, &info);
        int colours = samples > 2 ? 3 : 1;
        for (int channels = colours; channels <= samples; channels++) {
            Image deep, bytes;
            assert_true(
                image_decode_part(file.data, file.size, "png", &(ImageRequest){.channels = channels, .deep = true}, &deep));
            assert_true(image_decode_part(file.data, file.size, "png", &(ImageRequest){.channels = channels}, &bytes));
            assert_int_equal(deep.depth, IMAGE_U16);
            assert_int_equal(bytes.depth, IMAGE_U8);
            for (int i = 0; i < H * W * channels; i++) {
                const uint8_t *stored = rows[i / channels / W] + (i / channels % W * samples + i % channels) * 2;
                int value = stored[0] << 8 | stored[1];
                assert_true(sample(&deep, (size_t)i) == value);
                assert_int_equal(bytes.data[i], (value + 128) / 257);
            }
            image_free(&deep);
            image_free(&bytes);
        }
        damage_file_free(&file);
    }
}

/* Section 1.3 from its words, in double all the way: one output of one axis. */
static double filtered(ResizeFilter filter, const double *in, int n, int m, int k)
{
    static const double reach[] = {2, 1, 3};
    double scale = (double)n / m, f = scale > 1 ? scale : 1, support = reach[filter] * f, centre = (k + 0.5) * scale, sum = 0,
           total = 0;
    int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
    for (int j = low < 0 ? 0 : low; j < (high > n ? n : high); j++) {
        double x = fabs((j - centre + 0.5) / f), g = 0, a = -0.5, pi = acos(-1);
        if (filter == RESIZE_BILINEAR)
            g = x < 1 ? 1 - x : 0;
        else if (filter == RESIZE_BICUBIC)
            g = x < 1 ? (a + 2) * x * x * x - (a + 3) * x * x + 1 : x < 2 ? a * (x * x * x - 5 * x * x + 8 * x - 4) : 0;
        else
            g = x == 0 ? 1 : x < 3 ? sin(pi * x) / (pi * x) * sin(pi * x / 3) / (pi * x / 3) : 0;
        sum += g * in[j];
        total += g;
    }
    return sum / total;
}

static void resizing_follows_the_specification(void **state)
{
    (void)state;
    enum { ROWS = 41, COLUMNS = 37, MOST = 70 };
    static const int sizes[][2] = {{12, 9}, {64, 50}, {30, 26}, {30, 7}, {3, 26}, {1, 1}};
    ResizeScratch scratch = {0};
    ImageBox crop = {5, 8, 30, 26};
    for (int depth = 0; depth < IMAGE_DEPTHS; depth++) {
        Image image;
        assert_true(image_new_deep(&image, ROWS, COLUMNS, 5, (ImageDepth)depth));
        Random random = random_stream(9, RANDOM_TEST, 0, 0, (uint64_t)depth);
        for (size_t i = 0; i < ROWS * COLUMNS * 5; i++) {
            uint16_t wide = (uint16_t)random_below(&random, 65536);
            float real = (float)random_normal(&random);
            memcpy(image.data + i * image_depth_bytes(image.depth), depth == IMAGE_F32 ? (void *)&real : (void *)&wide,
                   image_depth_bytes(image.depth));
        }
        double full = depth == IMAGE_U8 ? 255 : depth == IMAGE_U16 ? 65535 : 1;
        for (int s = 0; s < 6 * RESIZE_FILTERS; s++) {
            int height = sizes[s / RESIZE_FILTERS][0], width = sizes[s / RESIZE_FILTERS][1];
            ResizeFilter filter = (ResizeFilter)(s % RESIZE_FILTERS);
            static float got[MOST * MOST * 5];
            assert_true(image_resize_deep(&image, crop, height, width, filter, &scratch, got));
            for (int c = 0; c < 5; c += 2)
                for (int x = 0; x < width; x++) {
                    double column[ROWS], row[COLUMNS];
                    for (int y = 0; y < crop.height; y++) {
                        for (int i = 0; i < crop.width; i++)
                            row[i] = sample(&image, (size_t)(((crop.top + y) * COLUMNS + crop.left + i) * 5 + c)) / full;
                        column[y] = width == crop.width ? row[x] : filtered(filter, row, crop.width, width, x);
                    }
                    for (int y = 0; y < height; y++) {
                        double wanted = height == crop.height ? column[y] : filtered(filter, column, crop.height, height, y);
                        double value = (double)got[(y * width + x) * 5 + c];
                        if (fabs(value - wanted) > 2e-6)
                            fail_msg("%d x %d, filter %d, depth %d: %g, not %g", height, width, (int)filter, depth, value,
                                     wanted);
                    }
                }
        }
        image_free(&image);
    }
    resize_scratch_free(&scratch);
}

/* A picture of bytes times 257 comes out as the same numbers, but for the rounding of bytes. */
static void deep_samples_meet_those_of_bytes(void **state)
{
    (void)state;
    enum { SIDE = 24 };
    const float mean[2] = {0.3f, 0.6f}, std[2] = {0.2f, 0.25f};
    Image bytes, wide;
    ResizeScratch scratch = {0};
    float room[SIDE * SIDE * 2], of_bytes[SIDE * SIDE * 2], of_wide[SIDE * SIDE * 2];
    assert_true(image_new(&bytes, H, W, 2));
    assert_true(image_new_deep(&wide, H, W, 2, IMAGE_U16));
    Random random = random_stream(10, RANDOM_TEST, 0, 0, 0);
    for (size_t i = 0; i < H * W * 2; i++) {
        bytes.data[i] = (uint8_t)random_below(&random, 256);
        uint16_t value = (uint16_t)(bytes.data[i] * 257);
        memcpy(wide.data + 2 * i, &value, 2);
    }
    for (int flip = 0; flip < 2; flip++) {
        ImageBox crop = {1, 2, 17, 15};
        assert_true(image_prepare(&bytes, crop, SIDE, SIDE, RESIZE_BILINEAR, NULL, flip, mean, std, &scratch, room, of_bytes));
        assert_true(image_prepare(&wide, crop, SIDE, SIDE, RESIZE_BILINEAR, NULL, flip, mean, std, &scratch, room, of_wide));
        for (int i = 0; i < SIDE * SIDE * 2; i++)
            assert_true(fabsf(of_bytes[i] - of_wide[i]) * std[i / SIDE / SIDE] < 1.1f / 255);
    }
    resize_scratch_free(&scratch);
    image_free(&bytes);
    image_free(&wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiff_keeps_channels_and_depth),      cmocka_unit_test(other_numbers_of_channels_are_refused),
        cmocka_unit_test(many_channels_count_for_the_limit),  cmocka_unit_test(png_keeps_16_bits_and_alpha),
        cmocka_unit_test(resizing_follows_the_specification), cmocka_unit_test(deep_samples_meet_those_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
