/* TIFF files that the test writes itself: every layout, depth and kind of colours; what is refused; limits, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <tiffio.h>
#include <zlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/damage_case.h"

enum { H = 37, W = 51, SAMPLES_MOST = 4 };

/* All zero but what is said: a grey picture of 8 bits in strips, uncompressed. */
typedef struct {
    const char *mode; /* of libtiff: byte order, BigTIFF */
    int height, width, samples, bits, photometric, compression;
    bool tiled, planar, float_samples;
    int extra;        /* kind of the last sample plus 1; 0: no extra sample */
    int tile_side;    /* 0: 16 */
    bool header_only; /* no pixels */
} Kind;

/* Sample c of pixel (y, x), all of its bits in use; colours that change slowly where JPEG halves their number. */
static uint32_t value_of(const Kind *k, int y, int x, int c)
{
    if (k->photometric == PHOTOMETRIC_YCBCR)
        return (uint32_t)(40 + 2 * y + x + 20 * c);
    uint32_t value = (uint32_t)(y * 7919 + x * 104729 + c * 31337 + y * x) * 2654435761u >> 12;
    return k->bits == 8 ? value & 255 : value & 65535;
}

static void put_value(const Kind *k, uint8_t *bytes, size_t i, uint32_t value)
{
    uint16_t wide = (uint16_t)value;
    if (k->bits == 8)
        bytes[i] = (uint8_t)value;
    else
        memcpy(bytes + 2 * i, &wide, 2);
}

/* Writes the rows [top, top + height) and columns from `left` of one plane, or of all samples, into `to`. */
static void fill_part(const Kind *k, int top, int left, int height, int width, int plane, uint8_t *to)
{
    int first = k->planar ? plane : 0, count = k->planar ? 1 : k->samples;
    size_t i = 0;
    for (int y = top; y < top + height; y++)
        for (int x = left; x < left + width; x++)
            for (int c = first; c < first + count; c++)
                put_value(k, to, i++, value_of(k, y, x, c));
}

static void set_fields(const Kind *k, TIFF *tiff)
{
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, (uint32_t)k->width);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, (uint32_t)k->height);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, k->samples);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, k->bits);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, k->photometric);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, k->compression ? k->compression : COMPRESSION_NONE);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, k->planar ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
    if (k->float_samples)
        TIFFSetField(tiff, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_IEEEFP);
    if (k->extra) {
        uint16_t extra = (uint16_t)(k->extra - 1);
        TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &extra);
    }
    if (k->tiled) {
        TIFFSetField(tiff, TIFFTAG_TILEWIDTH, k->tile_side ? k->tile_side : 16);
        TIFFSetField(tiff, TIFFTAG_TILELENGTH, k->tile_side ? k->tile_side : 16);
    } else {
        TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, 16);
    }
    if (k->compression == COMPRESSION_JPEG) {
        TIFFSetField(tiff, TIFFTAG_JPEGQUALITY, 100);
        TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB); /* libtiff turns RGB into YCbCr */
    }
}

static void write_parts(const Kind *k, TIFF *tiff)
{
    int side = k->tile_side ? k->tile_side : 16;
    size_t row = (size_t)(k->width + side) * SAMPLES_MOST * 4;
    uint8_t *part = calloc((size_t)side, row);
    assert_non_null(part);
    for (int plane = 0; plane < (k->planar ? k->samples : 1); plane++) {
        for (int y = 0; !k->tiled && y < k->height; y++) {
            fill_part(k, y, 0, 1, k->width, plane, part);
            assert_int_equal(TIFFWriteScanline(tiff, part, (uint32_t)y, (uint16_t)plane), 1);
        }
        for (int y = 0; k->tiled && y < k->height; y += side)
            for (int x = 0; x < k->width; x += side) {
                fill_part(k, y, x, side, side, plane, part);
                assert_true(TIFFWriteTile(tiff, part, (uint32_t)x, (uint32_t)y, 0, (uint16_t)plane) > 0);
            }
    }
    free(part);
}

/* A palette of 16-bit entries: shift 8: bytes in the upper half; 0: bytes as they are; -1: all 16 bits. */
static uint16_t palette_entry(int index, int c, int shift)
{
    return shift < 0 ? (uint16_t)(index * 251 + c * 77 + 3) : (uint16_t)((index * 3 + 40 * c) % 256 << shift);
}

static DamageFile write_tiff(const Kind *kind, int palette_shift)
{
    char path[64];
    Kind k = *kind;
    k.height = k.height ? k.height : H;
    k.width = k.width ? k.width : W;
    snprintf(path, sizeof path, "tiff_test-%d.tmp", (int)getpid());
    TIFF *tiff = TIFFOpen(path, k.mode ? k.mode : "w");
    assert_non_null(tiff);
    set_fields(&k, tiff);
    if (k.photometric == PHOTOMETRIC_PALETTE) {
        uint16_t map[3][256];
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < 256; i++)
                map[c][i] = palette_entry(i, c, palette_shift);
        TIFFSetField(tiff, TIFFTAG_COLORMAP, map[0], map[1], map[2]);
    }
    if (k.header_only)
        assert_true(TIFFWriteCheck(tiff, k.tiled, "header")); /* makes the lists of strips or tiles, all of them missing */
    else
        write_parts(&k, tiff);
    TIFFClose(tiff);
    size_t size;
    char *bytes = file_read(path, 0, &size);
    assert_non_null(bytes);
    DamageFile file = {malloc(size), size};
    assert_non_null(file.data);
    memcpy(file.data, bytes, size);
    memory_free(bytes);
    assert_true(file_remove(path));
    return file;
}

static uint8_t expected_byte(const Kind *k, int y, int x, int c, int palette_shift)
{
    bool rgb = k->photometric == PHOTOMETRIC_RGB;
    uint32_t value = value_of(k, y, x, rgb ? c : 0);
    if (k->photometric == PHOTOMETRIC_PALETTE) {
        uint16_t entry = palette_entry((int)value, c, palette_shift);
        return (uint8_t)(palette_shift < 0 ? (2 * entry + 257) / 514 : entry >> palette_shift);
    }
    if (k->bits == 16)
        value = (2 * value + 257) / 514;
    return (uint8_t)(k->photometric == PHOTOMETRIC_MINISWHITE ? 255 - value : value);
}

static void check_pixels(const Kind *k, int palette_shift)
{
    DamageFile file = write_tiff(k, palette_shift);
    Image rgb, grey;
    int height, width, channels;
    if (!image_decode(file.data, file.size, "a.jpg", 3, &rgb) || !image_decode(file.data, file.size, "a.jpg", 1, &grey) ||
        !image_probe(file.data, file.size, "a", &height, &width, &channels))
        fail_msg("%s", error_text());
    bool is_grey = k->photometric == PHOTOMETRIC_MINISBLACK || k->photometric == PHOTOMETRIC_MINISWHITE;
    assert_int_equal(rgb.height, H);
    assert_int_equal(rgb.width, W);
    assert_int_equal(height, H);
    assert_int_equal(width, W);
    assert_int_equal(channels, is_grey ? 1 : 3);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            const uint8_t *pixel = rgb.data + 3 * (y * W + x);
            for (int c = 0; c < 3; c++)
                if (pixel[c] != expected_byte(k, y, x, c, palette_shift))
                    fail_msg("pixel (%d, %d, %d) of kind %d, %d bits, %d samples, compression %d, tiled %d, planar %d", y, x, c,
                             k->photometric, k->bits, k->samples, k->compression, k->tiled, k->planar);
            assert_int_equal(grey.data[y * W + x], is_grey ? pixel[0] : image_luma(pixel));
        }
    image_free(&rgb);
    image_free(&grey);
    damage_file_free(&file);
}

static const Kind colours[] = {
    {.samples = 1, .photometric = PHOTOMETRIC_MINISBLACK},
    {.samples = 1, .photometric = PHOTOMETRIC_MINISWHITE},
    {.samples = 2, .photometric = PHOTOMETRIC_MINISBLACK, .extra = EXTRASAMPLE_UNASSALPHA + 1},
    {.samples = 3, .photometric = PHOTOMETRIC_RGB},
    {.samples = 4, .photometric = PHOTOMETRIC_RGB, .extra = EXTRASAMPLE_ASSOCALPHA + 1},
};
enum { COLOURS = sizeof colours / sizeof *colours };

static void every_layout_gives_the_same_pixels(void **state)
{
    (void)state;
    static const char *const modes[] = {"wl", "wb", "wl8", "wb8"};
    static const int compressions[] = {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS};
    for (int i = 0; i < COLOURS * 4 * 4 * 8; i++) {
        Kind k = colours[i / 128];
        k.mode = modes[i / 32 % 4];
        k.compression = compressions[i / 8 % 4];
        k.bits = i & 1 ? 16 : 8;
        k.tiled = i & 2;
        k.planar = i & 4;
        check_pixels(&k, 0);
    }
}

static void palettes_are_expanded(void **state)
{
    (void)state;
    for (int tiled = 0; tiled < 2; tiled++)
        for (int shift = -1; shift <= 8; shift += shift < 0 ? 1 : 8)
            check_pixels(&(Kind){.samples = 1, .bits = 8, .photometric = PHOTOMETRIC_PALETTE, .tiled = tiled}, shift);
}

static void jpeg_inside_is_read(void **state)
{
    (void)state;
    if (!TIFFIsCODECConfigured(COMPRESSION_JPEG))
        skip();
    for (int i = 0; i < 4; i++) {
        bool grey = i & 1;
        Kind k = {.samples = grey ? 1 : 3,
                  .bits = 8,
                  .photometric = grey ? PHOTOMETRIC_MINISBLACK : PHOTOMETRIC_YCBCR,
                  .compression = COMPRESSION_JPEG,
                  .tiled = i & 2};
        DamageFile file = write_tiff(&k, 0);
        Image image;
        if (!image_decode(file.data, file.size, "jpeg", 3, &image))
            fail_msg("%s", error_text());
        for (int p = 0; p < H * W * 3; p++)
            assert_in_range(image.data[p] + 8 - value_of(&k, p / 3 / W, p / 3 % W, grey ? 0 : p % 3), 0, 16);
        image_free(&image);
        damage_by_cutting(&file);
        damage_file_free(&file);
    }
}

static void assert_refused(const Kind *k, const char *part)
{
    DamageFile file = write_tiff(k, 0);
    Image image;
    uint64_t before = memory_count();
    assert_false(image_decode(file.data, file.size, "x", 3, &image));
    assert_null(image.data);
    if (!strstr(error_text(), part))
        fail_msg("\"%s\" is not in \"%s\"", part, error_text());
    assert_in_range(memory_count() - before, 0, k->tile_side ? 1 : 0); /* tiles are looked at when the picture is there */
    damage_file_free(&file);
}

static void what_cannot_be_read_yet_is_said(void **state)
{
    (void)state;
    Kind grey = {.samples = 1, .bits = 8, .photometric = PHOTOMETRIC_MINISBLACK, .header_only = true}, k;
    k = grey, k.bits = 32, k.float_samples = true;
    assert_refused(&k, "x: the TIFF file has float samples, which are no bytes");
    k = grey, k.bits = 1;
    assert_refused(&k, "1 bits a sample; 8 and 16, and floats of 16 and 32 can be read");
    k = grey, k.bits = 32;
    assert_refused(&k, "32 bits a sample");
    k = grey, k.bits = 64, k.float_samples = true;
    assert_refused(&k, "floats of 64 bits a sample");
    k = grey, k.samples = 65;
    assert_refused(&k, "the TIFF file has 65 channels; up to 64 can be read");
    k = grey, k.samples = 5;
    assert_refused(&k, "the picture has 5 channels where 3 are wanted: set image.channels");
    k = grey, k.samples = 4, k.photometric = PHOTOMETRIC_RGB, k.extra = EXTRASAMPLE_UNSPECIFIED + 1;
    assert_refused(&k, "the picture has 4 channels where 3 are wanted");
    k = grey, k.samples = 3, k.photometric = PHOTOMETRIC_CIELAB;
    assert_refused(&k, "colours are of kind 8");
    k = grey, k.compression = COMPRESSION_PIXARLOG;
    assert_refused(&k, "compressed in way 32909");
}

/* libtiff says that memory is wanting; the file is bad all the same. */
static void a_directory_of_nothing_is_no_want_of_memory(void **state)
{
    (void)state;
    static const uint8_t files[][20] = {{'I', 'I', '*', 0, 8}, {'I', 'I', '+', 0, 8, 0, 0, 0, 16}};
    for (int i = 0; i < 2; i++) {
        Image image;
        error_clear();
        assert_false(image_decode(files[i], sizeof files[i], "x", 3, &image));
        assert_false(error_is_machine());
    }
}

static void limits_hold_before_memory_is_taken(void **state)
{
    (void)state;
    Kind k = {.samples = 1, .bits = 8, .photometric = PHOTOMETRIC_MINISBLACK, .header_only = true};
    k.height = k.width = 30000;
    assert_refused(&k, "x: the TIFF file announces 30000 x 30000 pixels, more than the limit");
    k.height = 1;
    k.width = 1000001;
    assert_refused(&k, "a side longer than 1000000");
    k.height = k.width = 40;
    k.tiled = true;
    k.tile_side = 1 << 14;
    assert_refused(&k, "announces tiles of 16384 x 16384 pixels, far more than its picture has");
}

static void put_entry(uint8_t *at, int tag, int type, uint32_t value)
{
    const uint8_t entry[12] = {(uint8_t)tag,   (uint8_t)(tag >> 8),   (uint8_t)type,         0, 1, 0, 0, 0,
                               (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16)};
    memcpy(at, entry, sizeof entry);
}

/* A grey JPEG stream of noise, side x side pixels. */
static unsigned long write_jpeg_stream(const uint8_t *pixels, int side, uint8_t *to, unsigned long room)
{
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &size);
    info.image_height = info.image_width = (JDIMENSION)side;
    info.input_components = 1;
    info.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&info);
    jpeg_start_compress(&info, TRUE);
    for (int y = 0; y < side; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + y * side);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    assert_true(size <= room);
    memcpy(to, bytes, size);
    free(bytes);
    return size;
}

/* The directory in front, so that a cut file still announces its picture and only the pixels are missing: SIDE x SIDE grey
 * pixels of noise in one strip, of which the last bytes are left away and not announced. */
static DamageFile write_directory_first(int compression, unsigned long left_away)
{
    enum { SIDE = 40, SHORT = 3, LONG = 4, ENTRIES = 9, START = 8 + 2 + 12 * ENTRIES + 4 };
    uint8_t pixels[SIDE * SIDE], strip[2 * SIDE * SIDE + 100];
    unsigned long size = sizeof strip;
    Kind noise = {.bits = 8};
    for (int i = 0; i < SIDE * SIDE; i++)
        pixels[i] = (uint8_t)value_of(&noise, i / SIDE, i % SIDE, 0);
    if (compression == COMPRESSION_ADOBE_DEFLATE) {
        assert_int_equal(compress(strip, &size, pixels, sizeof pixels), Z_OK);
    } else if (compression == COMPRESSION_JPEG) {
        size = write_jpeg_stream(pixels, SIDE, strip, sizeof strip);
    } else if (compression == COMPRESSION_PACKBITS) {
        for (size = 0; size < SIDE * (SIDE + 1); size += SIDE + 1) { /* a row is one run of literal bytes */
            strip[size] = SIDE - 1;
            memcpy(strip + size + 1, pixels + size / (SIDE + 1) * SIDE, SIDE);
        }
    } else {
        memcpy(strip, pixels, size = sizeof pixels);
    }
    size -= left_away;
    DamageFile file = {calloc(1, START + size), START + size};
    assert_non_null(file.data);
    memcpy(file.data, "II*\0\x08\0\0\0\x09", 9);
    uint8_t *at = file.data + 10;
    put_entry(at, TIFFTAG_IMAGEWIDTH, SHORT, SIDE);
    put_entry(at += 12, TIFFTAG_IMAGELENGTH, SHORT, SIDE);
    put_entry(at += 12, TIFFTAG_BITSPERSAMPLE, SHORT, 8);
    put_entry(at += 12, TIFFTAG_COMPRESSION, SHORT, (uint32_t)compression);
    put_entry(at += 12, TIFFTAG_PHOTOMETRIC, SHORT, PHOTOMETRIC_MINISBLACK);
    put_entry(at += 12, TIFFTAG_STRIPOFFSETS, LONG, START);
    put_entry(at += 12, TIFFTAG_SAMPLESPERPIXEL, SHORT, 1);
    put_entry(at += 12, TIFFTAG_ROWSPERSTRIP, SHORT, SIDE);
    put_entry(at += 12, TIFFTAG_STRIPBYTECOUNTS, LONG, (uint32_t)size);
    memcpy(file.data + START, strip, size);
    return file;
}

static void missing_pixels_are_not_made_up(void **state)
{
    (void)state;
    static const int compressions[] = {COMPRESSION_NONE, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS, COMPRESSION_JPEG};
    for (size_t i = 0; i < sizeof compressions / sizeof *compressions; i++) {
        DamageFile file = write_directory_first(compressions[i], 0);
        damage_by_cutting(&file);
        assert_true(image_probe(file.data, file.size / 2, "half", NULL, NULL, NULL)); /* the header alone is there */
        damage_file_free(&file);
        file = write_directory_first(compressions[i], 300); /* libjpeg only warns, and goes on with grey */
        assert_false(damage_decode(file.data, file.size));
        damage_file_free(&file);
    }
}

static void damaged_files_never_crash(void **state)
{
    (void)state;
    enum { TRIES = 200 };
    static const int compressions[] = {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS,
                                       COMPRESSION_JPEG};
    for (int i = 0; i < 5 * 4; i++) {
        Kind k = {.mode = i & 1 ? "wl" : "wb8", .compression = compressions[i / 4], .tiled = i & 2};
        k.samples = 3;
        k.bits = k.compression != COMPRESSION_JPEG && i & 1 ? 16 : 8;
        k.photometric = PHOTOMETRIC_RGB;
        k.planar = i % 3 == 0;
        if (!TIFFIsCODECConfigured((uint16_t)k.compression))
            continue;
        DamageFile file = write_tiff(&k, 0);
        damage_by_cutting(&file);
        int noticed = damage_by_overwriting(&file, TRIES, (uint64_t)i);
        print_message("compression %d, tiled %d, planar %d: %d of %d overwritten files noticed\n", k.compression, k.tiled,
                      k.planar, noticed, TRIES);
        assert_true(noticed > 0);
        damage_file_free(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_layout_gives_the_same_pixels),
                                       cmocka_unit_test(palettes_are_expanded),
                                       cmocka_unit_test(jpeg_inside_is_read),
                                       cmocka_unit_test(what_cannot_be_read_yet_is_said),
                                       cmocka_unit_test(a_directory_of_nothing_is_no_want_of_memory),
                                       cmocka_unit_test(limits_hold_before_memory_is_taken),
                                       cmocka_unit_test(missing_pixels_are_not_made_up),
                                       cmocka_unit_test(damaged_files_never_crash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
