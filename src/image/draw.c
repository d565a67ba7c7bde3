#include "image/draw.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/codec.h"
#include "image/font.h"

/* PNG writing. */

typedef struct {
    png_structp png;
    png_infop info;
    jmp_buf failed;
    uint8_t *data;
    size_t size, capacity;
} Writer;

static void fail(png_structp png, png_const_charp reason)
{
    Writer *writer = png_get_error_ptr(png);
    error_set("a PNG file cannot be made: %s", reason);
    if (codec_is_want_of_memory(reason))
        error_blame_machine();
    longjmp(writer->failed, 1);
}

static void append(png_structp png, png_bytep bytes, size_t count)
{
    Writer *writer = png_get_io_ptr(png);
    if (count > writer->capacity - writer->size) {
        size_t capacity = 2 * (writer->capacity + count);
        uint8_t *data = memory_resize(writer->data, capacity, 1);
        if (!data)
            longjmp(writer->failed, 1);
        writer->data = data;
        writer->capacity = capacity;
    }
    memcpy(writer->data + writer->size, bytes, count);
    writer->size += count;
}

static void flush(png_structp png)
{
    (void)png;
}

static bool cannot_start(void)
{
    error_set("libpng could not be started: out of memory, or another version than this program was built for");
    error_blame_machine();
    return false;
}

/* No local variable lives across the jump. */
static bool encode(Writer *writer, const Image *image, int bits, int type)
{
    writer->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, writer, fail, NULL);
    if (!writer->png)
        return cannot_start();
    if (setjmp(writer->failed))
        return false;
    writer->info = png_create_info_struct(writer->png);
    if (!writer->info)
        return cannot_start();
    png_set_write_fn(writer->png, writer, append, flush);
    png_set_user_limits(writer->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(writer->png, writer->info, (png_uint_32)image->width, (png_uint_32)image->height, bits, type,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_write_info(writer->png, writer->info);
    for (int y = 0; y < image->height; y++)
        png_write_row(writer->png, image->data + (size_t)y * (size_t)image->width * (size_t)image->channels);
    png_write_end(writer->png, NULL);
    return true;
}

static uint8_t *encode_all(const Image *image, int bits, int type, size_t *size)
{
    Writer writer = {0};
    bool good = encode(&writer, image, bits, type);
    png_destroy_write_struct(&writer.png, &writer.info);
    if (good) {
        *size = writer.size;
        return writer.data;
    }
    memory_free(writer.data);
    return NULL;
}

uint8_t *image_encode_png(const Image *image, size_t *size)
{
    static const int types[] = {-1, PNG_COLOR_TYPE_GRAY, -1, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGBA};
    if (image->channels < 1 || image->channels > 4 || types[image->channels] < 0) {
        error_set("a picture of %d channels cannot be written as PNG; 1, 3 and 4 can", image->channels);
        return NULL;
    }
    return encode_all(image, 8, types[image->channels], size);
}

uint8_t *image_encode_png16(const uint16_t *samples, int height, int width, size_t *size)
{
    Image image; /* two bytes a pixel, the high one first */
    if (!image_new(&image, height, width, 2))
        return NULL;
    for (size_t i = 0; i < image_size(&image) / 2; i++) {
        image.data[2 * i] = (uint8_t)(samples[i] >> 8);
        image.data[2 * i + 1] = (uint8_t)samples[i];
    }
    uint8_t *data = encode_all(&image, 16, PNG_COLOR_TYPE_GRAY, size);
    image_free(&image);
    return data;
}

bool image_write_png(const char *path, const Image *image)
{
    size_t size;
    uint8_t *data = image_encode_png(image, &size);
    if (!data)
        return error_context("%s", path);
    bool good = file_write(path, data, size);
    memory_free(data);
    return good;
}

/* Pictures from numbers. */

bool image_from_tensor(const float *tensor, int channels, int height, int width, const float *mean, const float *std,
                       Image *out)
{
    if (!image_new(out, height, width, channels))
        return false;
    size_t pixels = (size_t)height * (size_t)width;
    for (int c = 0; c < channels; c++) {
        float scale = std ? std[c] : 1, shift = mean ? mean[c] : 0;
        for (size_t i = 0; i < pixels; i++) {
            float v = 255 * (tensor[(size_t)c * pixels + i] * scale + shift);
            /* The first comparison is false for not-a-number too. */
            out->data[i * (size_t)channels + (size_t)c] =
                !(v > 0)   ? 0
                : v >= 255 ? 255
                           : (uint8_t)(v + 0.5f); // NOLINT(bugprone-incorrect-roundings): 0 <= v < 255
        }
    }
    return true;
}

/* Drawing. */

static uint8_t *pixel(Image *image, int y, int x)
{
    return image->data + ((size_t)y * (size_t)image->width + (size_t)x) * (size_t)image->channels;
}

/* The rows or columns start .. start + length - 1 cut to 0 .. limit - 1; computed wide, callers may point far outside. */
static void clip(int64_t start, int64_t length, int limit, int *first, int *end)
{
    int64_t last = start + length;
    *first = start < 0 ? 0 : start > limit ? limit : (int)start;
    *end = last < 0 ? 0 : last > limit ? limit : (int)last;
}

static void fill(Image *image, int64_t top, int64_t left, int64_t height, int64_t width, const uint8_t *colour)
{
    int y0, y1, x0, x1;
    clip(top, height, image->height, &y0, &y1);
    clip(left, width, image->width, &x0, &x1);
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++)
            memcpy(pixel(image, y, x), colour, (size_t)image->channels);
}

void draw_rectangle(Image *image, ImageBox box, const uint8_t *colour)
{
    fill(image, box.top, box.left, box.height, box.width, colour);
}

/* One pixel in another number of channels: missing alpha is opaque, surplus channels go. */
static void convert_pixel(const uint8_t *from, int from_channels, uint8_t *to, int to_channels)
{
    bool from_colour = from_channels >= 3, to_colour = to_channels >= 3;
    for (int c = 0; c < to_channels; c++) {
        if (from_colour && to_colour)
            to[c] = c < from_channels ? from[c] : 255;
        else if (from_colour)
            to[c] = c == 0 ? image_luma(from) : 255;
        else
            to[c] = c < (to_colour ? 3 : 1) ? from[0] : 255;
    }
}

void draw_image(Image *image, int top, int left, const Image *from, int scale)
{
    if (scale < 1)
        return;
    int y0, y1, x0, x1;
    clip(top, (int64_t)from->height * scale, image->height, &y0, &y1);
    clip(left, (int64_t)from->width * scale, image->width, &x0, &x1);
    for (int y = y0; y < y1; y++) {
        size_t row = (size_t)(((int64_t)y - top) / scale) * (size_t)from->width;
        for (int x = x0; x < x1; x++) {
            size_t column = (size_t)(((int64_t)x - left) / scale);
            convert_pixel(from->data + (row + column) * (size_t)from->channels, from->channels, pixel(image, y, x),
                          image->channels);
        }
    }
}

void draw_text(Image *image, int top, int left, const char *text, const uint8_t *colour, int scale)
{
    int64_t at = left;
    for (; *text; text++, at += (int64_t)TEXT_ADVANCE * scale) {
        int code = (unsigned char)*text - FONT_FIRST;
        const char *glyph = FONT_GLYPHS[code >= 0 && code < FONT_COUNT ? code : '?' - FONT_FIRST];
        for (int y = 0; y < TEXT_GLYPH_HEIGHT; y++)
            for (int x = 0; x < TEXT_GLYPH_WIDTH; x++)
                if (glyph[y * FONT_ROW + x] == '#')
                    fill(image, top + (int64_t)y * scale, at + (int64_t)x * scale, scale, scale, colour);
    }
}

int draw_text_width(const char *text, int scale)
{
    size_t letters = strlen(text);
    return letters ? ((int)letters * TEXT_ADVANCE - (TEXT_ADVANCE - TEXT_GLYPH_WIDTH)) * scale : 0;
}
