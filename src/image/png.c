/* PNG through libpng; interlaced files, palettes, 1 to 16 bits a sample. */
#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "base/error.h"
#include "image/codec.h"

typedef struct {
    png_structp png;
    png_infop info;
    jmp_buf failed;
    const uint8_t *bytes;
    size_t size, position;
    CodecTime time;
    CodecHeader *header;
    Image *out;
} Reader;

static void fail(png_structp png, png_const_charp reason)
{
    Reader *reader = png_get_error_ptr(png);
    error_set("the PNG data cannot be read: %s", reason);
    if (strcasestr(reason, "out of memory"))
        error_blame_machine();
    longjmp(reader->failed, 1);
}

/* libpng warns about wrappings and slack only; damaged pixels are errors. */
static void warn(png_structp png, png_const_charp reason)
{
    (void)png;
    (void)reason;
}

static void read_bytes(png_structp png, png_bytep to, size_t count)
{
    Reader *reader = png_get_io_ptr(png);
    if (count > reader->size - reader->position) {
        error_set("the PNG file is cut off after %zu bytes", reader->size);
        longjmp(reader->failed, 1);
    }
    memcpy(to, reader->bytes + reader->position, count);
    reader->position += count;
}

static bool open_file(Reader *reader)
{
    reader->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, reader, fail, warn);
    if (!reader->png)
        return error_set("libpng could not be started: out of memory, or another version than this program was built for");
    reader->info = png_create_info_struct(reader->png);
    if (!reader->info)
        return error_set("libpng could not be started: out of memory");
    png_set_read_fn(reader->png, reader, read_bytes);
    png_set_user_limits(reader->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* image.c has limits of its own */
    /* Comments, profiles, thumbnails: skipped unread, they could only cost memory. */
    png_set_keep_unknown_chunks(reader->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(reader->png, reader->info);
    return true;
}

static bool read_header(Reader *reader)
{
    if (!open_file(reader))
        return false;
    int type = png_get_color_type(reader->png, reader->info);
    *reader->header = (CodecHeader){.height = (int)png_get_image_height(reader->png, reader->info),
                                    .width = (int)png_get_image_width(reader->png, reader->info),
                                    .grey = !(type & PNG_COLOR_MASK_COLOR)};
    return true;
}

static bool read_pixels(Reader *reader)
{
    if (!open_file(reader))
        return false;
    png_structp png = reader->png;
    Image *out = reader->out;
    int type = png_get_color_type(png, reader->info), depth = png_get_bit_depth(png, reader->info);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    else if (depth < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    if (depth == 16)
        png_set_scale_16(png);
    png_set_strip_alpha(png);
    if (out->channels == 3 && !(type & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, reader->info);
    size_t stride = (size_t)out->width * (size_t)out->channels;
    if (png_get_rowbytes(png, reader->info) != stride || png_get_image_height(png, reader->info) != (png_uint_32)out->height)
        return error_set("the PNG file's header contradicts itself");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < out->height; y++) {
            if (!codec_time_left(&reader->time))
                return false;
            png_read_row(png, out->data + (size_t)y * stride, NULL);
        }
    png_read_end(png, NULL);
    return true;
}

/* Runs `work` so that libpng's errors come back here. No local variable lives across the jump. */
static bool run(Reader *reader, bool (*work)(Reader *))
{
    bool good = !setjmp(reader->failed) && work(reader);
    png_destroy_read_struct(&reader->png, &reader->info, NULL);
    return good;
}

static bool png_matches(const uint8_t *bytes, size_t size)
{
    return size >= 8 && !png_sig_cmp(bytes, 0, 8);
}

static bool png_header(const uint8_t *bytes, size_t size, CodecHeader *header)
{
    Reader reader = {.bytes = bytes, .size = size, .header = header};
    return run(&reader, read_header);
}

static bool png_decode(const uint8_t *bytes, size_t size, const ImageLimits *limits, Image *out)
{
    Reader reader = {.bytes = bytes, .size = size, .time = codec_time_start(limits), .out = out};
    return run(&reader, read_pixels);
}

const Codec CODEC_PNG = {"PNG", {".png"}, png_matches, png_header, png_decode};
