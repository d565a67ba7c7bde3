/* Pictures that are stored turned: tags of four formats, all eight orientations, parts of them, damaged blocks; reduced JPEG.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>
#include <tiffio.h>
#include <webp/encode.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "image/damage_case.h"
#include "image/orientation.h"

enum { H = 21, W = 34, BLOCK = 8 + 2 + 2 * 12 + 4 };

/* A block of EXIF with another tag before the orientation's. */
static void write_block(uint8_t *block, bool big, int orientation)
{
    const uint8_t low[BLOCK] = {'I',
                                'I',
                                42,
                                0,
                                8,
                                0,
                                0,
                                0,
                                2,
                                0,
                                0x0F,
                                0x01,
                                2,
                                0,
                                1,
                                0,
                                0,
                                0,
                                'x',
                                0,
                                0,
                                0,
                                0x12,
                                0x01,
                                3,
                                0,
                                1,
                                0,
                                0,
                                0,
                                (uint8_t)orientation};
    const uint8_t high[BLOCK] = {'M', 'M', 0,   42, 0, 0, 0,    8,    0, 2, 0x01, 0x0F, 0, 2, 0, 0,
                                 0,   1,   'x', 0,  0, 0, 0x01, 0x12, 0, 3, 0,    0,    0, 1, 0, (uint8_t)orientation};
    memcpy(block, big ? high : low, BLOCK);
}

static void fill(uint8_t *pixels)
{
    Random random = random_stream(3, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < H * W * 3; i++)
        pixels[i] = (uint8_t)random_below(&random, 256);
}

static void append(DamageFile *file, const void *bytes, size_t count)
{
    file->data = realloc(file->data, file->size + count);
    assert_non_null(file->data);
    memcpy(file->data + file->size, bytes, count);
    file->size += count;
}

static void append_png(png_structp png, png_bytep bytes, size_t count)
{
    append(png_get_io_ptr(png), bytes, count);
}

static DamageFile write_png(const uint8_t *pixels, uint8_t *block)
{
    DamageFile file = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &file, append_png, NULL);
    png_set_IHDR(png, info, W, H, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_set_eXIf_1(png, info, BLOCK, block);
    png_write_info(png, info);
    for (int y = 0; y < H; y++)
        png_write_row(png, pixels + (ptrdiff_t)y * W * 3);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    return file;
}

static DamageFile write_jpeg(const uint8_t *pixels, int height, int width, const uint8_t *block)
{
    DamageFile file = {0};
    unsigned long size = 0;
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    uint8_t segment[6 + BLOCK] = "Exif\0";
    memcpy(segment + 6, block, BLOCK);
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &file.data, &size);
    info.image_height = (JDIMENSION)height;
    info.image_width = (JDIMENSION)width;
    info.input_components = 3;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_start_compress(&info, TRUE);
    jpeg_write_marker(&info, JPEG_APP0 + 1, (const uint8_t *)"http://ns", 9); /* other programs use APP1, too */
    jpeg_write_marker(&info, JPEG_APP0 + 1, segment, sizeof segment);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (ptrdiff_t)y * width * 3);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    file.size = size;
    return file;
}

static void append_chunk(DamageFile *file, const char *name, const void *content, size_t size)
{
    const uint8_t length[4] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16), 0};
    append(file, name, 4);
    append(file, length, 4);
    append(file, content, size);
    if (size & 1)
        append(file, "", 1);
}

/* The extended layout: a header that announces EXIF, the picture, the block behind it. */
static DamageFile write_webp(const uint8_t *pixels, const uint8_t *block, bool marked)
{
    enum { HEADERS = 12 + 8, EXIF_FOLLOWS = 8 };
    DamageFile file = {0};
    uint8_t *plain = NULL, header[10] = {EXIF_FOLLOWS, 0, 0, 0, W - 1, 0, 0, H - 1, 0, 0}, content[6 + BLOCK] = "Exif\0";
    size_t size = WebPEncodeLosslessRGB(pixels, W, H, W * 3, &plain), before = marked ? 6 : 0;
    assert_true(size > HEADERS && !memcmp(plain + 12, "VP8L", 4));
    memcpy(content + before, block, BLOCK);
    append(&file, "RIFF\0\0\0\0WEBP", 12);
    append_chunk(&file, "VP8X", header, sizeof header);
    append(&file, plain + 12, size - 12);
    append_chunk(&file, "EXIF", content, before + BLOCK);
    size_t riff = file.size - 8;
    for (int i = 0; i < 4; i++)
        file.data[4 + i] = (uint8_t)(riff >> 8 * i);
    WebPFree(plain);
    return file;
}

static DamageFile write_tiff(const uint8_t *pixels, int orientation)
{
    char path[64];
    size_t size;
    DamageFile file = {0};
    snprintf(path, sizeof path, "orientation_test-%d.tmp", (int)getpid());
    TIFF *tiff = TIFFOpen(path, "w");
    assert_non_null(tiff);
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, W);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, H);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, 3);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, 8);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(tiff, TIFFTAG_ORIENTATION, orientation);
    for (int y = 0; y < H; y++)
        assert_int_equal(TIFFWriteScanline(tiff, (void *)(uintptr_t)(pixels + (ptrdiff_t)y * W * 3), (uint32_t)y, 0), 1);
    TIFFClose(tiff);
    char *bytes = file_read(path, 0, &size);
    assert_non_null(bytes);
    append(&file, bytes, size);
    memory_free(bytes);
    file_remove(path);
    return file;
}

/* Where the stored pixel (y, x) of a picture of h x w is shown, as the standard words it: the stored first row and column are
 * the top and left side for 1, top and right for 2, bottom and right, bottom and left, left and top, right and top, right and
 * bottom, left and bottom. */
static void shown_at(int orientation, int h, int w, int y, int x, int *row, int *column)
{
    const int rows[9] = {0, y, y, h - 1 - y, h - 1 - y, x, x, w - 1 - x, w - 1 - x};
    const int columns[9] = {0, x, w - 1 - x, w - 1 - x, x, y, h - 1 - y, h - 1 - y, y};
    *row = rows[orientation];
    *column = columns[orientation];
}

static ImageBox given_box(void *box, int height, int width)
{
    (void)height;
    (void)width;
    return *(ImageBox *)box;
}

static void check_file(const DamageFile *file, int orientation, const char *what)
{
    Image plain, upright, part;
    ImageRequest request = {.channels = 3, .exif = true};
    ImageFacts facts;
    if (!image_decode(file->data, file->size, what, 3, &plain) ||
        !image_decode_part(file->data, file->size, what, &request, &upright) ||
        !image_facts(file->data, file->size, what, &facts))
        fail_msg("%s", error_text());
    assert_int_equal(facts.orientation, orientation);
    assert_int_equal(plain.height, H); /* not turned when nobody asks for it */
    assert_int_equal(upright.height, orientation >= 5 ? W : H);
    assert_int_equal(upright.width, orientation >= 5 ? H : W);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            int row, column;
            shown_at(orientation, H, W, y, x, &row, &column);
            if (memcmp(plain.data + (ptrdiff_t)(y * W + x) * 3, upright.data + (ptrdiff_t)(row * upright.width + column) * 3,
                       3))
                fail_msg("%s, orientation %d: pixel %d, %d is not at %d, %d", what, orientation, y, x, row, column);
        }
    ImageBox box = {3, 5, 11, 9};
    request.choose = given_box;
    request.context = &box;
    assert_true(image_decode_part(file->data, file->size, what, &request, &part));
    assert_int_equal(part.height, box.height);
    assert_int_equal(part.width, box.width);
    for (int y = 0; y < box.height; y++)
        assert_memory_equal(part.data + (ptrdiff_t)y * box.width * 3,
                            upright.data + (ptrdiff_t)((box.top + y) * upright.width + box.left) * 3, (size_t)box.width * 3);
    image_free(&plain);
    image_free(&upright);
    image_free(&part);
}

static void every_format_is_turned_upright(void **state)
{
    (void)state;
    uint8_t pixels[H * W * 3], block[BLOCK];
    fill(pixels);
    for (int orientation = 1; orientation <= 8; orientation++)
        for (int big = 0; big < 2; big++) {
            write_block(block, big, orientation);
            DamageFile files[] = {write_png(pixels, block), write_jpeg(pixels, H, W, block), write_webp(pixels, block, big),
                                  write_tiff(pixels, orientation)};
            static const char *const names[] = {"PNG", "JPEG", "WebP", "TIFF"};
            for (int f = 0; f < 4; f++) {
                check_file(&files[f], orientation, names[f]);
                damage_file_free(&files[f]);
            }
        }
}

/* Numbers outside 1 to 8, tags of another type, places outside the block: such a picture is upright. */
static void a_damaged_block_turns_nothing(void **state)
{
    (void)state;
    uint8_t pixels[H * W * 3], block[BLOCK];
    ImageFacts facts;
    fill(pixels);
    static const struct {
        int at;
        uint8_t value;
    } damage[] = {{30, 0}, {30, 9}, {30, 255}, {24, 4}, {26, 2}, {4, 255}, {7, 255}, {0, 'X'}, {22, 0x13}, {8, 1}};
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        write_block(block, false, 6);
        block[damage[i].at] = damage[i].value;
        DamageFile file = write_jpeg(pixels, H, W, block);
        assert_true(image_facts(file.data, file.size, "x", &facts));
        assert_int_equal(facts.orientation, 1);
        damage_file_free(&file);
    }
    /* Memory of the exact size: a sanitizer sees what is read outside. */
    Random random = random_stream(4, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < 20000; i++) {
        size_t size = random_below(&random, BLOCK + 8);
        uint8_t *copy = malloc(size ? size : 1);
        assert_non_null(copy);
        write_block(block, i & 1, 6);
        for (size_t k = 0; k < size; k++)
            copy[k] = k < BLOCK && random_below(&random, 8) ? block[k] : (uint8_t)random_below(&random, 256);
        orientation_find(copy, size);
        free(copy);
    }
}

/* As libjpeg reduces it, and the smallest size that is enough. */
static void a_draft_is_the_smallest_that_is_enough(void **state)
{
    (void)state;
    enum { HEIGHT = 150, WIDTH = 221 };
    static const struct {
        int enough[2], scale;
    } cases[] = {{{150, 221}, 1}, {{76, 20}, 1}, {{75, 111}, 2}, {{75, 112}, 1}, {{38, 56}, 4}, {{1, 1}, 8}, {{300, 300}, 1}};
    static uint8_t pixels[HEIGHT * WIDTH * 3];
    uint8_t block[BLOCK];
    for (int i = 0; i < HEIGHT * WIDTH * 3; i++)
        pixels[i] = (uint8_t)(20 + i / 3 % WIDTH / 2 + i / 3 / WIDTH / 2 + 10 * (i % 3));
    for (int orientation = 1; orientation <= 6; orientation += 5) {
        write_block(block, false, orientation);
        DamageFile file = write_jpeg(pixels, HEIGHT, WIDTH, block);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            bool lies = orientation >= 5;
            int scale = cases[i].scale, height = (HEIGHT + scale - 1) / scale, width = (WIDTH + scale - 1) / scale;
            ImageRequest request = {.channels = 3, .exif = true, .draft = {cases[i].enough[lies], cases[i].enough[!lies]}};
            Image image, part;
            assert_true(image_decode_part(file.data, file.size, "draft", &request, &image));
            assert_int_equal(image.height, lies ? width : height);
            assert_int_equal(image.width, lies ? height : width);
            /* The mean of what it is made from. */
            for (int y = 1; !lies && y < height - 1; y++)
                for (int x = 1; x < width - 1; x++) {
                    int sum = 0;
                    for (int k = 0; k < scale * scale; k++)
                        sum += pixels[((y * scale + k / scale) * WIDTH + x * scale + k % scale) * 3 + 1];
                    int mean = sum / (scale * scale), got = image.data[(y * width + x) * 3 + 1];
                    if (abs(mean - got) > 6)
                        fail_msg("scale %d: %d at %d, %d where %d is expected", scale, got, y, x, mean);
                }
            ImageBox box = {2, 3, 5, 7};
            request.choose = given_box;
            request.context = &box;
            assert_true(image_decode_part(file.data, file.size, "draft", &request, &part));
            for (int y = 0; y < box.height; y++)
                assert_memory_equal(part.data + (ptrdiff_t)y * box.width * 3,
                                    image.data + (ptrdiff_t)((box.top + y) * image.width + box.left) * 3,
                                    (size_t)box.width * 3);
            image_free(&image);
            image_free(&part);
        }
        damage_file_free(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_turned_upright),
        cmocka_unit_test(a_damaged_block_turns_nothing),
        cmocka_unit_test(a_draft_is_the_smallest_that_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
