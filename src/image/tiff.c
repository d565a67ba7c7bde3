/* TIFF and BigTIFF through libtiff: strips, tiles and planes, any number of channels, 8 and 16 bits, half and single floats; of
 * several pictures in a file the first. */
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tiffio.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/codec.h"

/* What libtiff may take at once beside a strip or tile as it lies in the file, and what a tile may take beside the picture. */
enum { SLACK = 64 << 20 };

typedef struct {
    const uint8_t *bytes;
    size_t size;
    uint64_t position;
    char reason[256]; /* of libtiff's first error, "" without one */
    TIFF *tiff;
    /* what the file announces */
    uint32_t height, width;
    uint16_t bits, samples, photometric, planar, compression;
    bool real;    /* float samples */
    int channels; /* without alpha */
    bool alpha;
    int taken; /* samples of a pixel that the job wants */
    const CodecJob *job;
    const uint16_t *palette[3];
    enum { PALETTE_16, PALETTE_HIGH, PALETTE_LOW } palette_kind;
} Reader;

/* ---- the file in memory */

static tmsize_t read_bytes(thandle_t handle, void *to, tmsize_t count)
{
    Reader *r = handle;
    uint64_t left = r->position < r->size ? r->size - r->position : 0;
    size_t n = count < 0 ? 0 : (uint64_t)count < left ? (size_t)count : (size_t)left;
    if (n)
        memcpy(to, r->bytes + r->position, n);
    r->position += n;
    return (tmsize_t)n;
}

static tmsize_t write_nothing(thandle_t handle, void *from, tmsize_t count)
{
    (void)handle;
    (void)from;
    (void)count;
    return -1;
}

/* A place behind the end is allowed: reading there gives nothing. */
static toff_t seek_bytes(thandle_t handle, toff_t offset, int whence)
{
    Reader *r = handle;
    r->position = offset + (whence == SEEK_CUR ? r->position : whence == SEEK_END ? r->size : 0);
    return r->position;
}

static int close_nothing(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t file_size(thandle_t handle)
{
    const Reader *r = handle;
    return r->size;
}

/* ---- errors: kept in the reader, since libtiff's own handlers belong to the whole process */

static void __attribute__((format(printf, 2, 0))) note(Reader *r, const char *format, va_list list)
{
    if (!r->reason[0])
        vsnprintf(r->reason, sizeof r->reason, format, list);
}

static int on_error(TIFF *tiff, void *reader, const char *module, const char *format, va_list list)
{
    (void)tiff;
    (void)module;
    note(reader, format, list);
    return 1;
}

/* Warnings concern unknown tags and slack, but for those of libjpeg, which then goes on with made-up pixels. */
static int on_warning(TIFF *tiff, void *reader, const char *module, const char *format, va_list list)
{
    (void)tiff;
    if (module && !strcmp(module, "JPEGLib"))
        note(reader, format, list);
    return 1;
}

static bool fail(const Reader *r)
{
    error_set("the TIFF data cannot be read: %s", r->reason[0] ? r->reason : "it is damaged or cut off");
    /* libtiff asks for no memory where a file says that it has nothing, and takes the answer for want of memory. */
    if (codec_is_want_of_memory(r->reason) && !strstr(r->reason, "(0 elements"))
        error_blame_machine();
    return false;
}

/* ---- what is in it */

static bool is_known_compression(const Reader *r)
{
    static const uint16_t known[] = {COMPRESSION_NONE,          COMPRESSION_LZW,     COMPRESSION_JPEG,
                                     COMPRESSION_ADOBE_DEFLATE, COMPRESSION_DEFLATE, COMPRESSION_PACKBITS};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (r->compression == known[i])
            return TIFFIsCODECConfigured(r->compression) != 0;
    return false;
}

/* Channels beside grey or RGB are alpha when the file says so, else the picture has more channels. */
static bool find_channels(Reader *r)
{
    bool jpeg = r->compression == COMPRESSION_JPEG;
    uint16_t extra_count = 0, *extra = NULL;
    switch (r->photometric) {
    case PHOTOMETRIC_MINISBLACK:
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_PALETTE:
        r->channels = 1;
        break;
    case PHOTOMETRIC_RGB:
        r->channels = 3;
        break;
    case PHOTOMETRIC_YCBCR:
        if (!jpeg || r->planar != PLANARCONFIG_CONTIG || r->samples != 3)
            return error_set("the TIFF file holds YCbCr colours that are not JPEG's, which cannot be read yet");
        r->channels = 3;
        break;
    default:
        return error_set("the TIFF file's colours are of kind %u; grey, RGB and palettes can be read", r->photometric);
    }
    if (r->samples == r->channels)
        return true;
    if (r->samples < r->channels || r->photometric == PHOTOMETRIC_PALETTE || r->photometric == PHOTOMETRIC_MINISWHITE)
        return error_set("the TIFF file has %u channels, which does not fit its kind of colours (%u)", r->samples,
                         r->photometric);
    TIFFGetFieldDefaulted(r->tiff, TIFFTAG_EXTRASAMPLES, &extra_count, &extra);
    r->alpha = r->samples == r->channels + 1 && extra_count == 1 &&
               (extra[0] == EXTRASAMPLE_ASSOCALPHA || extra[0] == EXTRASAMPLE_UNASSALPHA);
    r->channels = r->alpha ? r->channels : r->samples;
    return r->samples <= IMAGE_CHANNELS_MAX ||
           error_set("the TIFF file has %u channels; up to %d can be read", r->samples, IMAGE_CHANNELS_MAX);
}

/* Palettes have 16 bits, but many programs write bytes: as the upper half, or (against the rules) as they are. */
static bool find_palette(Reader *r)
{
    uint16_t *red, *green, *blue;
    if (r->bits != 8)
        return error_set("the TIFF file has a palette of %u bits; palettes of 8 bits can be read", r->bits);
    if (!TIFFGetField(r->tiff, TIFFTAG_COLORMAP, &red, &green, &blue))
        return error_set("the TIFF file has no palette where one is announced");
    r->palette[0] = red;
    r->palette[1] = green;
    r->palette[2] = blue;
    bool high = true, low = true;
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++) {
            high = high && (r->palette[c][i] & 255) == 0;
            low = low && r->palette[c][i] < 256;
        }
    r->palette_kind = high ? PALETTE_HIGH : low ? PALETTE_LOW : PALETTE_16;
    return true;
}

/* Fills the reader from the first directory and refuses what read_pixels() cannot do. */
static bool read_kind(Reader *r)
{
    TIFF *tiff = r->tiff;
    uint16_t format = SAMPLEFORMAT_UINT;
    if (!TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &r->width) || !TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &r->height) ||
        !TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &r->photometric))
        return error_set("the TIFF file does not say how large its picture is and what its colours mean");
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &r->bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &r->samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &r->planar);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &r->compression);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    if (r->width < 1 || r->height < 1 || r->width > INT_MAX || r->height > INT_MAX)
        return error_set("the TIFF file announces %u x %u pixels", r->height, r->width);
    r->real = format == SAMPLEFORMAT_IEEEFP;
    if (format != SAMPLEFORMAT_UINT && format != SAMPLEFORMAT_VOID && !r->real)
        return error_set("the TIFF file has signed or complex samples; unsigned ones and floats can be read");
    if (r->real ? r->bits != 16 && r->bits != 32 : r->bits != 8 && r->bits != 16)
        return error_set("the TIFF file has %s%u bits a sample; 8 and 16, and floats of 16 and 32 can be read",
                         r->real ? "floats of " : "", r->bits);
    if (r->real && r->photometric != PHOTOMETRIC_MINISBLACK && r->photometric != PHOTOMETRIC_RGB)
        return error_set("the TIFF file has float samples that are neither grey nor RGB, which cannot be read");
    if (!is_known_compression(r))
        return error_set("the TIFF file is compressed in way %u; none, LZW, deflate, PackBits and JPEG can be read",
                         r->compression);
    return find_channels(r) && (r->photometric != PHOTOMETRIC_PALETTE || find_palette(r));
}

static bool open_file(Reader *r)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options) {
        error_set("libtiff could not be started: out of memory");
        error_blame_machine();
        return false;
    }
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)(r->size + SLACK));
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, r);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, r);
    /* m: through the functions, not by a mapping, so that every access is checked here. */
    r->tiff =
        TIFFClientOpenExt("", "rm", r, read_bytes, write_nothing, seek_bytes, close_nothing, file_size, NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    return r->tiff ? read_kind(r) : fail(r);
}

/* ---- pixels */

static uint8_t byte_of_16(uint16_t value)
{
    return (uint8_t)((value + 128u) / 257u);
}

/* A half float. Its numbers below 2^-14 are whole multiples of 2^-24. */
static float float_of_half(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    float value = exponent == 31  ? (fraction ? NAN : INFINITY)
                  : exponent == 0 ? ldexpf((float)fraction, -24)
                                  : ldexpf((float)(fraction + 1024), exponent - 25);
    return half >> 15 ? -value : value;
}

static uint16_t load_16(const uint8_t *row, size_t i)
{
    uint16_t value;
    memcpy(&value, row + 2 * i, 2);
    return value;
}

static float load_float(const Reader *r, const uint8_t *row, size_t i)
{
    float value;
    if (r->bits == 16)
        return float_of_half(load_16(row, i));
    memcpy(&value, row + 4 * i, 4);
    return value;
}

/* Sample i of a row to number `at` of the picture's. */
static void put_sample(const Reader *r, const uint8_t *row, size_t i, Image *out, size_t at)
{
    bool turned = r->photometric == PHOTOMETRIC_MINISWHITE;
    if (out->depth == IMAGE_F32) {
        float value = load_float(r, row, i);
        memcpy(out->data + 4 * at, &value, 4);
    } else if (out->depth == IMAGE_U16) {
        uint16_t value = turned ? (uint16_t)(65535 - load_16(row, i)) : load_16(row, i);
        memcpy(out->data + 2 * at, &value, 2);
    } else {
        uint8_t value = r->bits == 8 ? row[i] : byte_of_16(load_16(row, i));
        out->data[at] = turned ? (uint8_t)(255 - value) : value;
    }
}

/* Training must not meet what is no number, and sums of squares must stay exact enough. */
static bool check_floats(const Reader *r, const uint8_t *row, size_t count)
{
    const float largest = 1e6f;
    for (size_t i = 0; r->real && i < count; i++)
        if (!(fabsf(load_float(r, row, i)) <= largest))
            return error_set("the TIFF file has a float sample that is not finite or beyond +-1000000");
    return true;
}

static uint8_t palette_byte(const Reader *r, int c, uint8_t index)
{
    uint16_t value = r->palette[c][index];
    return r->palette_kind == PALETTE_HIGH  ? (uint8_t)(value >> 8)
           : r->palette_kind == PALETTE_LOW ? (uint8_t)value
                                            : byte_of_16(value);
}

/* Puts of a run of `count` pixels at (y, x) what lies in the part. The run has all samples of a pixel side by side, or those of
 * one plane alone. */
static void put_pixels(const Reader *r, const uint8_t *row, uint64_t y, uint64_t x, size_t count, int plane, bool planes)
{
    const ImageBox *box = &r->job->box;
    Image *out = r->job->out;
    uint64_t top = (uint64_t)box->top, left = (uint64_t)box->left, right = left + (uint64_t)box->width;
    uint64_t first = x > left ? x : left, stop = x + count < right ? x + count : right;
    if (y < top || y >= top + (uint64_t)box->height)
        return;
    size_t step = planes ? 1 : r->samples, channels = (size_t)out->channels;
    int taken = planes ? 1 : r->taken;
    size_t at = ((size_t)(y - top) * (size_t)box->width + (size_t)(first - left)) * channels;
    for (; first < stop; first++, at += channels) {
        for (int c = 0; c < taken; c++)
            put_sample(r, row, (size_t)(first - x) * step + (size_t)c, out, at + (size_t)(planes ? plane : c));
        if (r->photometric == PHOTOMETRIC_PALETTE)
            for (int c = 2, index = out->data[at]; c >= 0; c--)
                out->data[at + (size_t)c] = palette_byte(r, c, (uint8_t)index);
        else if (r->taken == 1 && channels == 3)
            for (size_t c = 1, bytes = image_depth_bytes(out->depth); c < 3; c++)
                memcpy(out->data + (at + c) * bytes, out->data + at * bytes, bytes);
    }
}

/* Row by row, so that a picture in one strip needs no second picture's memory. */
static bool read_strips(Reader *r, int plane, bool planes, uint8_t *row)
{
    const ImageBox *box = &r->job->box;
    uint32_t from = 0, to = r->height, strip = r->height;
    TIFFGetFieldDefaulted(r->tiff, TIFFTAG_ROWSPERSTRIP, &strip);
    if (r->job->known) { /* a strip is read from its beginning on */
        from = strip ? (uint32_t)box->top / strip * strip : 0;
        to = (uint32_t)(box->top + box->height);
    }
    for (uint32_t y = from; y < to; y++) {
        if (!codec_time_left(&r->job->time))
            return false;
        if (TIFFReadScanline(r->tiff, row, y, (uint16_t)plane) != 1 || r->reason[0])
            return fail(r);
        if (!check_floats(r, row, (size_t)r->width * (planes ? 1 : r->samples)))
            return false;
        put_pixels(r, row, y, 0, r->width, plane, planes);
    }
    return true;
}

static bool read_tiles(Reader *r, int plane, bool planes, uint8_t *tile, uint32_t tile_height, uint32_t tile_width)
{
    const ImageBox *box = &r->job->box;
    size_t samples = planes ? 1 : r->samples, tile_stride = (size_t)tile_width * samples * (r->bits / 8u);
    uint64_t box_top = (uint64_t)box->top, box_left = (uint64_t)box->left;
    for (uint64_t top = 0; top < r->height; top += tile_height)
        for (uint64_t left = 0; left < r->width; left += tile_width) {
            bool outside = top >= box_top + (uint64_t)box->height || top + tile_height <= box_top ||
                           left >= box_left + (uint64_t)box->width || left + tile_width <= box_left;
            if (r->job->known && outside)
                continue;
            if (!codec_time_left(&r->job->time))
                return false;
            if (TIFFReadTile(r->tiff, tile, (uint32_t)left, (uint32_t)top, 0, (uint16_t)plane) < 0 || r->reason[0])
                return fail(r);
            size_t rows = r->height - top < tile_height ? (size_t)(r->height - top) : tile_height;
            size_t columns = r->width - left < tile_width ? (size_t)(r->width - left) : tile_width;
            for (size_t y = 0; y < rows; y++) {
                if (!check_floats(r, tile + y * tile_stride, columns * samples))
                    return false;
                put_pixels(r, tile + y * tile_stride, top + y, left, columns, plane, planes);
            }
        }
    return true;
}

static bool read_pixels(Reader *r)
{
    const ImageBox *box = &r->job->box;
    int channels = r->job->out->channels;
    if (r->height < (uint32_t)(box->top + box->height) || r->width < (uint32_t)(box->left + box->width))
        return error_set("the TIFF file's header contradicts itself");
    r->taken = channels == r->samples ? r->samples : r->channels;
    /* Sizes of tiles, too, are checked as if every sample were stored: the colours of YCbCr may be fewer. */
    if (r->compression == COMPRESSION_JPEG)
        TIFFSetField(r->tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    bool planes = r->planar == PLANARCONFIG_SEPARATE && r->samples > 1, tiled = TIFFIsTiled(r->tiff) != 0;
    uint32_t tile_height = 1, tile_width = r->width;
    if (tiled && (!TIFFGetField(r->tiff, TIFFTAG_TILELENGTH, &tile_height) ||
                  !TIFFGetField(r->tiff, TIFFTAG_TILEWIDTH, &tile_width) || !tile_height || !tile_width))
        return error_set("the TIFF file does not say how large its tiles are");
    size_t pixel = (planes ? 1u : r->samples) * (r->bits / 8u), size;
    if (!size_multiply(tile_height, tile_width, &size) || !size_multiply(size, pixel, &size) ||
        size > SLACK + 2 * (size_t)r->height * (size_t)r->width * pixel)
        return error_set("the TIFF file announces tiles of %u x %u pixels, far more than its picture has", tile_height,
                         tile_width);
    if ((tiled ? TIFFTileSize64(r->tiff) : TIFFScanlineSize64(r->tiff)) != size)
        return error_set("the TIFF file's header contradicts itself");
    uint8_t *buffer = memory_new(size, 1);
    bool good = buffer != NULL;
    for (int plane = 0; good && plane < (planes ? r->taken : 1); plane++)
        good = tiled ? read_tiles(r, plane, planes, buffer, tile_height, tile_width) : read_strips(r, plane, planes, buffer);
    memory_free(buffer);
    return good;
}

static bool tiff_matches(const uint8_t *bytes, size_t size)
{
    return size >= 4 && (!memcmp(bytes, "II*\0", 4) || !memcmp(bytes, "MM\0*", 4) || !memcmp(bytes, "II+\0", 4) ||
                         !memcmp(bytes, "MM\0+", 4));
}

static void close_file(Reader *r)
{
    if (r->tiff)
        TIFFClose(r->tiff);
}

static bool tiff_header(const uint8_t *bytes, size_t size, ImageFacts *facts)
{
    Reader reader = {.bytes = bytes, .size = size};
    uint16_t orientation = 0;
    bool good = open_file(&reader);
    if (good) {
        TIFFGetField(reader.tiff, TIFFTAG_ORIENTATION, &orientation);
        *facts = (ImageFacts){.height = (int)reader.height,
                              .width = (int)reader.width,
                              .channels = reader.photometric == PHOTOMETRIC_PALETTE ? 3 : reader.channels,
                              .alpha = reader.alpha,
                              .depth = reader.real         ? IMAGE_F32
                                       : reader.bits == 16 ? IMAGE_U16
                                                           : IMAGE_U8,
                              .orientation = orientation};
    }
    close_file(&reader);
    return good;
}

static bool tiff_decode(const uint8_t *bytes, size_t size, const CodecJob *job)
{
    Reader reader = {.bytes = bytes, .size = size, .job = job};
    bool good = open_file(&reader) && read_pixels(&reader);
    close_file(&reader);
    return good;
}

const Codec CODEC_TIFF = {"TIFF", {".tif", ".tiff"}, false, tiff_matches, tiff_header, tiff_decode, NULL};
